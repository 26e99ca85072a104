"""Ends the process at a second signal, whatever the main thread is doing.

Python handles signals in the main thread, between two of its own instructions. While that thread is in C, in a graph that
does not end or a decoder that waits, a handler does not run. The interpreter writes the number of every signal that has
a handler to a pipe at once, which another thread reads.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

TELL_AFTER_S = 1.0
"""A process that still runs this long after the first signal says how to end it."""

SAME_EVENT_S = 0.5
"""Signals closer to the first one than this belong to it: a terminal that closes sends several."""

EXIT_CODE = 130

_NOTICE = b"mar-edge: stopping; a second Ctrl-C or signal ends it at once\n"
_SHOW_CURSOR = b"\x1b[?25h"

_watched: set[int] = set()
_undo: list[Callable[[], None]] = []


def end_at_second(signals: Sequence[int]) -> None:
    """Watch some signals from now on; each of them needs a handler of its own for the first time it comes."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        return
    _watched.update(signals)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)  # a child's signals are not ours
    threading.Thread(target=_watch, args=(reader,), name="mar-edge signals", daemon=True).start()


def undo_before_leaving(undo: Callable[[], None]) -> None:
    """Call a function before the process is ended at once: what outlives it, such as a terminal's mode, is put right."""
    _undo.append(undo)


def keep_running_at(number: int) -> None:
    """Let a signal that means something else end nothing from now on."""
    _watched.discard(number)


def _forget() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


def _watch(reader: int) -> None:
    first_s: float | None = None
    told = False
    while True:
        wait_s = None if first_s is None or told else max(0.0, first_s + TELL_AFTER_S - time.monotonic())
        if not select.select([reader], [], [], wait_s)[0]:
            told = True
            _write(_NOTICE)
            continue
        received = os.read(reader, 256)
        if not received:
            return
        for number in received:
            if number not in _watched:
                continue
            if first_s is None:
                first_s = time.monotonic()
            elif time.monotonic() - first_s > SAME_EVENT_S:
                _leave()


def _leave() -> None:
    """End the process and its workers, without the cleaning up that does not come to its end."""
    for undo in _undo:
        with suppress(Exception):
            undo()
    try:
        if sys.stderr is not None and sys.stderr.isatty():
            _write(_SHOW_CURSOR)
        if "multiprocessing" in sys.modules:
            for child in sys.modules["multiprocessing"].active_children():
                child.kill()
    finally:
        os._exit(EXIT_CODE)


def _write(text: bytes) -> None:
    """Write to stderr past its buffer, whose lock the main thread may hold."""
    try:
        os.write(2, text)
    except OSError:
        return
