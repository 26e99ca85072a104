"""What the tests of streams share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """All threads of mar-edge that a test starts end with it."""
    before = set(threading.enumerate())
    yield
    end_s = time.monotonic() + 3
    while left := [thread.name for thread in set(threading.enumerate()) - before if "mar-edge" in thread.name]:
        assert time.monotonic() < end_s, left
        time.sleep(0.01)
