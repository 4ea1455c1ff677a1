"""No test of tokens leaves a thread behind that refreshes or saves one."""

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("token-"):
            thread.join(10)
