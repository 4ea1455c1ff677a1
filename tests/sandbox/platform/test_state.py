"""The end of the sandbox: nothing begins any more."""

import asyncio

from sandbox.platform.messages import Message
from sandbox.platform.settings import Settings
from sandbox.platform.state import PlatformState


def test_a_closed_platform_begins_nothing() -> None:
    """A timer that fires in the last moments of the loop posts no webhook; a restart goes on."""

    async def close_before_the_next_step() -> tuple[str, str, int]:
        state = PlatformState(Settings(sent_s=0.01, starting_s=0.01))
        account, _ = state.accounts.create("organization")
        account.webhook = "http://127.0.0.1:9/"
        state.accounts.start(account)
        message = Message(account.session, "79990001122", "api", "text", "Hello")
        state.messages.send(account, message)
        await state.close()
        await asyncio.sleep(0.05)
        return message.status, account.status, len(asyncio.all_tasks())

    assert asyncio.run(close_before_the_next_step()) == ("queued", "starting", 1)
