"""The Lua scripts of the lanes, put together from the files of `lua/`."""

from importlib.resources import files

from shared.redis.scripts import LuaScript


def load_script(*names: str) -> LuaScript:
    """Return the script that consists of these files, in this order."""
    folder = files("shared.lanes").joinpath("lua")
    return LuaScript("\n".join(folder.joinpath(f"{name}.lua").read_text() for name in names))


APPEND = load_script("places", "append", "main_append")
CLAIMS = ("places", "share", "append", "settled", "claim", "conclude")
EXCHANGE = load_script(*CLAIMS, "main_exchange")
OPERATE = load_script(*CLAIMS, "operate", "repair", "main_operate")
