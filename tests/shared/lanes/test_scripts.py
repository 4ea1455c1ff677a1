"""The scripts of the lanes consist of the files that they need."""

import redis

from shared.lanes.scripts import APPEND, EXCHANGE, OPERATE, load_script
from shared.outbox import ADD, TAKE


def test_redis_compiles_every_script(redis_client: redis.Redis) -> None:
    """A file that is missing from a script would be found when the script is first called."""
    for script in (APPEND, EXCHANGE, OPERATE, ADD, TAKE):
        assert redis_client.script_load(script.source) == script.sha


def test_a_script_has_its_files_in_order() -> None:
    """A local function of Lua has to be defined before its first use."""
    source = load_script("places", "append").source
    assert source.index("local function ring_bells") < source.index("local function append_event")
    assert "local function claim_heads" not in APPEND.source
