"""Keys of a terminal, each as soon as it is pressed."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mar_edge.cli.second_signal import undo_before_leaving

Pressed = Callable[[], str]
"""Returns the keys that were pressed since the last call, in order, and does not wait."""


def has_keys() -> bool:
    """Return whether a person can press keys for this program: standard input is a terminal, and it is in its foreground."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def terminal_keys() -> Iterator[Pressed]:
    """Read keys without Enter, and do not show them; the terminal is as before at every end but SIGKILL.

    Ctrl-C stays a signal. Without a terminal no key is ever pressed.
    """
    if not has_keys():
        yield lambda: ""
        return
    import termios  # here, as it exists only on POSIX
    import tty

    before = termios.tcgetattr(0)

    def switch(*_signal: Any) -> None:
        if has_keys():  # in the background this would stop the program
            tty.setcbreak(0, termios.TCSANOW)

    def restore() -> None:
        if has_keys():  # otherwise the shell has done it
            termios.tcsetattr(0, termios.TCSANOW, before)  # at once: output may wait for ever behind Ctrl-S

    undo_before_leaving(restore)
    try:
        signal.signal(signal.SIGCONT, switch)  # after Ctrl-Z, for which the shell restores the terminal
        switch()
        yield _pressed
    finally:
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        restore()


def _pressed() -> str:
    if not select.select([0], [], [], 0)[0]:
        return ""
    try:
        return os.read(0, 256).decode(sys.stdin.encoding or "utf-8", "replace")
    except OSError:  # the terminal was closed; SIGHUP follows
        return ""
