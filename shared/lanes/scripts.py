"""The Lua scripts of the lanes, put together from the files of `lua/`."""

from importlib.resources import files

from shared.redis.scripts import LuaScript


def load_script(*names: str) -> LuaScript:
    """Return the script that consists of these files, in this order."""
    folder = files("shared.lanes").joinpath("lua")
    return LuaScript("\n".join(folder.joinpath(f"{name}.lua").read_text() for name in names))


def load_with_clock(package: str, name: str) -> LuaScript:
    """Return the script `name` of a package, which reads the lanes' clock (`lua/clock.lua`)."""
    script = files(package).joinpath(name).read_text()
    return LuaScript(f"{load_script('clock').source}\n{script}")


APPEND = load_script("clock", "places", "moving", "ready", "schedule", "append", "main_append")
CLAIMS = (
    "clock",
    "places",
    "moving",
    "ready",
    "schedule",
    "share",
    "newer",
    "append",
    "settled",
    "claim",
    "conclude",
)
EXCHANGE = load_script(*CLAIMS, "main_exchange")
OPERATE = load_script(*CLAIMS, "due", "operate", "cancel", "reconcile", "repair", "main_operate")
