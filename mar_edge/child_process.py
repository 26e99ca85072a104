"""Starts Python in processes that take no code from the working folder.

`python -c` and `python -m` look for modules in the working folder first. A data set from a stranger with a `json.py` in it
would run with the user's rights. All of mar-edge's own processes start here, and look for modules where this process
does, and nowhere else.

The same holds for libraries: `import cv2` leaves an empty entry in `LD_LIBRARY_PATH`, which stands for the working folder,
and a `libz.so.1` there would be part of every process started afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker, util
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

SAFE = "-P" if sys.version_info >= (3, 11) else "-I"
"""The option that keeps the working folder off the module path; `-I` drops `PYTHONPATH` too, which is handed over."""

VARIABLE = "PYTHONSAFEPATH"
"""The same for processes of Python 3.11 and newer that other libraries start."""

LIBRARIES = "LD_LIBRARY_PATH"

NOWHERE = "/dev/null"
"""Holds no library, and leaves no empty entry where `import cv2` writes its own in front of it."""

_starting = threading.RLock()


def protect_children() -> None:
    """Keep the working folder off the paths of every process that this one starts, also through other libraries.

    For mar-edge's own commands, before they load libraries or start threads. Where this process itself runs code of the
    working folder, as with `python -m mar_edge` in a checkout, its children may do the same.
    """
    if not _in_working_folder(sys.path[:1]):
        os.environ[VARIABLE] = "1"
    clean_library_path()
    if not os.environ.get(LIBRARIES):
        os.environ[LIBRARIES] = NOWHERE


def clean_library_path() -> None:
    """Remove the empty entries of the path on which processes find libraries; each stands for the working folder."""
    entries = os.environ.get(LIBRARIES, "").split(":")
    if len(entries) > 1 and "" in entries:
        os.environ[LIBRARIES] = ":".join(filter(None, entries))


def leave_working_folder() -> None:
    """Take the working folder off the module path, where `python -m` put it first; not if mar-edge itself lies there."""
    home = str(Path(__file__).resolve().parents[1])
    if not sys.flags.isolated and not getattr(sys.flags, "safe_path", False) and not _in_working_folder([home]):
        sys.path[:1] = [place for place in sys.path[:1] if not _in_working_folder([place])]


def _in_working_folder(places: list[str]) -> bool:
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        return False
    return any(os.path.realpath(place) == here for place in places)


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process and wait for its end.

    Args:
        code: of Python.
        *arguments: its `sys.argv[1:]`.

    Returns:
        Its exit code, and what it printed.
    """
    clean_library_path()
    start = f"import sys; sys.path[:] = {sys.path!r}; {code}"
    return subprocess.run([sys.executable, SAFE, "-c", start, *arguments], capture_output=True, text=True, check=False)


def spawn_context() -> SpawnContext:
    """Return multiprocessing's context `spawn`, whose processes take no code from the working folder."""
    with _safe_start():
        resource_tracker.ensure_running()  # a process of its own, which the first queue would start
    return _Context()


class _Process(SpawnProcess):
    """A spawned process; it gets the module path of this one before it loads anything but multiprocessing itself."""

    def start(self) -> None:
        with _safe_start():
            super().start()


class _Context(SpawnContext):
    Process = _Process


@contextmanager
def _safe_start() -> Iterator[None]:
    """Clean the path of libraries, and add `SAFE` to the options with which multiprocessing starts Python.

    It takes them from this process, and has no other way to add one. The variable would do on Python 3.11, but to
    change it is not safe while other threads run.
    """
    clean_library_path()
    with _starting:
        options = util._args_from_interpreter_flags  # type: ignore[attr-defined]
        util._args_from_interpreter_flags = lambda: [*options(), SAFE]  # type: ignore[attr-defined]
        try:
            yield
        finally:
            util._args_from_interpreter_flags = options  # type: ignore[attr-defined]
