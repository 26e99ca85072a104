"""Ends of writers: killed at every call that changes the disk, and two at a time. Runs in a process of its own.

python -m tests.fakes.ends FOLDER [ROUNDS]

Prints one JSON object a line: what was done, the kind of file, the result, and what went wrong.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.fakes.writers import WRITERS, Writer

FOREIGN = {
    "mine.partial": b"7 GB of a download",
    ".m.safetensors.partial": b"mine",
    "last.state.pt.partial": b"mine",
    ".a.engine.0123.mar-edge-partial": b"almost our mark",
}
OLD_S = 1_000_000_000


def plant(folder: Path) -> None:
    """Write files of others, which no writer may touch."""
    folder.mkdir(parents=True)
    for name, content in FOREIGN.items():
        (folder / name).write_bytes(content)
        os.utime(folder / name, (OLD_S, OLD_S))


def check(folder: Path, writer: Writer) -> None:
    """Check that files of others are unchanged, and that nothing is left of unfinished ones."""
    for name, content in FOREIGN.items():
        assert (folder / name).read_bytes() == content, f"{name} was changed"
    names = {path.name for path in folder.iterdir()} - set(FOREIGN)
    assert names <= writer.leaves, f"left: {sorted(names - writer.leaves)}"
    assert not [path for path in folder.rglob("*.mar-edge-partial") if path.name not in FOREIGN]


def watched(before: Callable[[str], None]) -> None:
    """Call a function before everything that brings content or names onto the disk."""

    def wrap(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            before(name)
            return real(*arguments, **options)

        setattr(module, name, call)

    for name in ("fsync", "replace", "link", "unlink", "mkdir"):
        wrap(os, name)
    real = ctypes.CDLL

    class Library:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._library = real(*arguments, **options)

        def renameat2(self, *arguments: Any) -> Any:
            before("exchange")
            return self._library.renameat2(*arguments)

    ctypes.CDLL = Library  # type: ignore[assignment,misc]


def fork(act: Callable[[], None]) -> int:
    """Run a function in a child and return the child's number."""
    child = os.fork()
    if not child:
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def kill(folder: Path, kind: str, writer: Writer) -> int:
    """Kill a writer before its first call, its second, and so on; return how many calls it makes."""
    plant(folder)
    writer.write(folder, 0)
    version = 0
    for point in range(1, 200):
        before = writer.read(folder)
        version += 1

        def act(point: int = point, version: int = version) -> None:
            left = [point]

            def count(_name: str) -> None:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

            if kind == "films":
                (folder / "films" / "1.labels.npy").unlink()
            watched(count)
            writer.write(folder, version)

        _, status = os.waitpid(fork(act), 0)
        assert status in (0, signal.SIGKILL), f"call {point}: status {status}"
        assert kind == "films" or writer.read(folder) in (before, version), f"call {point}"
        version += 1
        writer.write(folder, version)
        assert kind == "films" or writer.read(folder) == version, f"call {point}: the next start"
        assert kind != "films" or writer.read(folder) == 7
        check(folder, writer)
        if not status:
            return point - 1
    raise AssertionError("it never ends")


def race(folder: Path, writer: Writer, rounds: int) -> int:
    """Let two processes write, and read meanwhile; return how often it was read."""
    plant(folder)

    def act(start: int) -> None:
        for index in range(rounds):
            writer.write(folder, start + index)

    children = [fork(lambda start=start: act(start)) for start in (0, 100)]  # type: ignore[misc]
    reads = 0
    failed = []
    try:
        while children:
            writer.read(folder)
            reads += 1
            child, status = os.waitpid(children[0], os.WNOHANG)
            if child:
                children.remove(child)
                failed += [status] if status else []
            time.sleep(0.001)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert not failed, f"a writer failed: {failed}"
    assert writer.read(folder) is not None
    writer.write(folder, 1)
    check(folder, writer)
    return reads


def order(folder: Path, writer: Writer) -> list[str]:
    """Return the calls of a second write, which replaces a first one."""
    plant(folder)
    writer.write(folder, 0)
    if "films" in writer.leaves:
        (folder / "films" / "1.labels.npy").unlink()
    calls: list[str] = []
    reading, writing = os.pipe()

    def act() -> None:
        watched(calls.append)
        writer.write(folder, 1)
        os.write(writing, json.dumps(calls).encode())

    os.waitpid(fork(act), 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return [str(call) for call in json.loads(pipe.read())]


def main() -> None:
    """Do all three for every kind."""
    torch.set_num_threads(1)  # a process with threads cannot be forked
    folder, rounds = Path(sys.argv[1]), int((sys.argv[2:] or ["20"])[0])
    acts: dict[str, Callable[[Path, str, Writer], Any]] = {
        "order": lambda place, _, writer: order(place, writer),
        "kill": kill,
        "race": lambda place, _, writer: race(place, writer, rounds) if writer.shared else None,
    }
    for name, act in acts.items():
        for kind, writer in WRITERS.items():
            result: Any = None
            problem = ""
            try:
                result = act(folder / name / kind.replace(" ", "-"), kind, writer)
            except Exception:
                problem = traceback.format_exc()
            print(json.dumps({"act": name, "kind": kind, "result": result, "problem": problem}), flush=True)


if __name__ == "__main__":
    main()
