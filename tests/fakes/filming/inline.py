"""Jobs in this process, for tests that are not about processes: to start those takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def in_this_process(task: Callable[[Any], Any], jobs: Sequence[Any], **_: Any) -> Iterator[tuple[int, Any]]:
    """Do what `workers.over_all_cores` does, one job after the other."""
    return ((index, task(job)) for index, job in enumerate(jobs))
