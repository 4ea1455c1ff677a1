"""Joins the refresh and save threads after each test of tokens."""

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def join_token_threads() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("token-"):
            thread.join(10)
