"""The one OpenVINO core of this process."""

from __future__ import annotations

import functools
import threading
from typing import Any

from mar_edge.telemetry import import_openvino

_turn = threading.Lock()


def openvino_core() -> Any:
    """Return the process's `openvino.Core`, made at the first call and kept until Python ends.

    More than one is not safe on Linux: each core gives the thread that first uses its CPU device an alternate signal
    stack, and when it is destroyed restores the one that it found, though that may be unmapped by now. After two cores
    end in the order in which they were made, or one ends in another thread, the next signal with a handler of
    Python's (Ctrl-C, the end of a child process) ends the process with SIGSEGV, or is written over memory that
    belongs to others by then. Seen in every version tested, 2025.0 to 2026.4; see docs/results/openvino_signal_stack.md.

    Raises:
        ImportError: if OpenVINO is not installed or does not load.
        OSError: if one of its libraries does not load.
    """
    with _turn:  # two threads that ask first would make two
        return _core()


@functools.cache
def _core() -> Any:
    return import_openvino().Core()
