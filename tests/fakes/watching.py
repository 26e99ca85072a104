"""Runs a command under strace and says what it did to the world: internet sockets, and files outside the folders given."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NETWORK = ("socket", "connect", "sendto", "sendmsg", "sendmmsg")
_WRITING = (
    "open", "openat", "openat2", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat",
    "symlink", "symlinkat", "mknod", "mknodat",
)  # fmt: skip
_PLACES = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/self/", "/proc/thread-self/")  # nothing stays there
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Deeds:
    """What a command did.

    Attributes:
        returncode: its exit code.
        output: stdout and stderr.
        internet: system calls that have to do with IPv4 or IPv6, tried ones included; a DNS look-up is one.
        written: files and folders that it made, changed or moved, without those in `_PLACES`.
        opened: files that it opened or tried to open, to read or to write.
    """

    returncode: int
    output: str
    internet: list[str]
    written: set[Path]
    opened: set[Path]


def watch(command: Sequence[str | Path], *, folder: Path, home: Path, log: Path, **variables: str) -> Deeds:
    """Run a command in an environment of its own, without `CI` and, where the machine allows it, without a network.

    Args:
        command: what to run.
        folder: its working folder.
        home: its HOME; TMPDIR is a new folder, and what is written there does not count.
        log: an empty folder for strace.
        **variables: more of its environment.
    """
    home.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="seen-"))  # sockets lie in it, whose paths must be short
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        alone = []
    calls = f"trace={','.join(_NETWORK + _WRITING)}"
    strace = ["strace", "--seccomp-bpf", "-ff", "-y", "-qq", "-s", "300", "-e", calls, "-e", "signal=none"]
    done = subprocess.run(
        [*alone, *strace, "-o", log / "thread", *command],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    lines = [line for file in sorted(log.iterdir()) for line in file.read_text(errors="replace").splitlines()]
    assert lines, f"strace saw nothing: {done.stdout}"
    internet = [line for line in lines if line.startswith(_NETWORK) and "AF_INET" in line]
    places = (*_PLACES, str(temporary))
    written = {
        path for line in lines if _changes(line) for path in _paths(line, folder) if not str(path).startswith(places)
    }
    opened = {path for line in lines if line.startswith(("open", "creat")) for path in _paths(line, folder)}
    shutil.rmtree(temporary)
    return Deeds(done.returncode, done.stdout, internet, written, opened)


def _changes(line: str) -> bool:
    """Return whether a system call made or changed something: it did not fail, and did not only read."""
    if line.partition("(")[0] not in _WRITING or " = -1 " in line:
        return False
    return not line.startswith("open") or re.search(r"O_CREAT|O_WRONLY|O_RDWR|O_TRUNC", line) is not None


def _paths(line: str, folder: Path) -> list[Path]:
    """Return the paths that a system call names."""
    return [Path(os.path.normpath(Path(base or folder) / path)) for base, path in _PATH.findall(line)]
