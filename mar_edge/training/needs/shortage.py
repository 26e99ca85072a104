"""Reports a shortage of memory during training in one line, if the process is still able to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mar_edge.errors import TrainingError

_ALLOCATORS = ("can't allocate memory", "DefaultCPUAllocator", "unable to allocate", "Cannot allocate memory")

_KILLED = ("Killed", "Bus error")


@contextmanager
def shortage_named() -> Iterator[None]:
    """Report in one line that the memory is full, and what to change.

    Raises:
        TrainingError: instead of torch's error when memory is exhausted or a loader process dies.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _full("the memory is full") from error
    except (RuntimeError, OSError) as error:
        text = str(error)
        if any(words in text for words in _ALLOCATORS):
            raise _full("the memory is full") from error
        if "DataLoader worker" in text:
            advice = "Start again; training resumes from the last checkpoint"
            if any(words in text for words in _KILLED):
                advice = f"Most often the memory or /dev/shm is full: reduce trainer.workers, 0 for none. {advice}"
            raise TrainingError(
                f"a loader process ended ({text.splitlines()[0].strip().rstrip('.')}). {advice}"
            ) from error
        raise


def _full(what: str) -> TrainingError:
    return TrainingError(
        f"{what}. Halve trainer.batch and double trainer.accumulate, which keeps the steps the same, and start again; "
        "training resumes from the last checkpoint"
    )
