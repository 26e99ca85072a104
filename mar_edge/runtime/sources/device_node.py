"""Why a camera cannot be opened, according to its device node in Linux."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mar_edge.errors import SourceCode

if sys.platform != "win32":
    import fcntl
    import grp
    import pwd

DEVICES = Path("/dev")
HAS_NODES = sys.platform.startswith("linux")
LIST = "Run: mar-edge cameras"

_QUERY_CAPABILITIES = 0x80685600  # VIDIOC_QUERYCAP of linux/videodev2.h
_CAPABILITIES = struct.Struct("=16s32s32sIII12x")  # driver, card, bus, version, of the device, of this node
_NODE_HAS_ITS_OWN = 0x80000000
_GIVES_PICTURES = 0x00000001 | 0x00001000  # capture, capture in planes

NODE = re.compile(r"/dev/video(\d+)", re.ASCII)


def camera_numbers(folder: Path = DEVICES) -> list[int]:
    """Return the numbers of all cameras that may exist; without device nodes the first ten."""
    if not HAS_NODES:
        return list(range(10))
    return sorted(int(path.name[5:]) for path in folder.glob("video*") if re.fullmatch(r"video\d+", path.name))


class Trouble(NamedTuple):
    """Why a camera cannot be opened.

    Attributes:
        code: the cause.
        message: what was seen, and what to do.
    """

    code: SourceCode
    message: str


def why_not_open(number: int, folder: Path = DEVICES) -> Trouble:
    """Return why a camera cannot be opened, and what to do.

    Distinguishes missing, not permitted, in use, and a node that delivers no pictures.

    Args:
        number: of the camera.
        folder: where device nodes are.
    """
    node = folder / f"video{number}"
    if not HAS_NODES:
        return Trouble("not-found", f"no camera {number}, or another program uses it. {LIST}")
    try:
        handle = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _why_refused(number, node, error)
    try:
        unfit = _why_unfit(node, handle)
    finally:
        os.close(handle)
    if unfit:
        return Trouble("not-found", f"camera {number} cannot be used: {unfit}. {LIST}")
    code: SourceCode = "busy" if _users(node) else "unreadable"
    return Trouble(code, f"camera {number} {why_silent(number, folder)}")


def why_silent(number: int, folder: Path = DEVICES) -> str:
    """Return why an existing camera delivers no pictures, as far as its node shows, and what to do."""
    node = folder / f"video{number}"
    if HAS_NODES:
        if not node.exists():
            return f"is disconnected: {node} no longer exists; check its cable"
        if users := _users(node):
            return f"is in use: {', '.join(users)} uses {node}; close that program"
    return f"delivers no pictures; check its cable and that no other program uses it (sudo fuser -v {node})"


def _why_refused(number: int, node: Path, error: OSError) -> Trouble:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        others = ", ".join(map(str, camera_numbers(node.parent)))
        there = f"available: {others}" if others else "no camera was found"
        return Trouble("not-found", f"no camera {number}: {node} does not exist, {there}. {LIST}")
    if error.errno == errno.EACCES:
        return Trouble("permission", f"camera {number} is not permitted: {_permission_advice(node)}")
    if error.errno == errno.EPERM:
        advice = f"in a container start it with --device {node}"
        return Trouble("permission", f"camera {number} is not permitted here: {advice}")
    if error.errno == errno.EBUSY:
        users = ", ".join(_users(node)) or "another program"
        return Trouble("busy", f"camera {number} is in use: {users} uses {node}; close that program")
    if error.errno in (errno.ENXIO, errno.ENODEV):
        advice = f"check its cable and its driver. {LIST}"
        return Trouble("not-found", f"no camera {number}: {node} has no device behind it; {advice}")
    return Trouble("unreadable", f"camera {number} cannot be opened: {node}: {error.strerror}. {LIST}")


def _permission_advice(node: Path) -> str:
    try:
        about = node.stat()
    except OSError:
        return f"this user may not read {node.parent}"
    group = str(about.st_gid)
    with suppress(KeyError):
        group = grp.getgrgid(about.st_gid).gr_name
    seen = f"{node} is {stat.filemode(about.st_mode)} of group {group}"
    if about.st_gid == 0 or about.st_mode & 0o060 != 0o060:
        return f"{seen}, which denies access to ordinary users. Run: sudo chgrp video {node} && sudo chmod 660 {node}"
    user = "$USER"
    with suppress(KeyError):
        user = pwd.getpwuid(os.geteuid()).pw_name
    return f"{seen}, and this user is not in it. Run: sudo usermod -aG {group} {user}, then log in again"


def _why_unfit(node: Path, handle: int) -> str | None:
    """Return why an open node delivers no pictures to any program; None if it should deliver some."""
    if not stat.S_ISCHR(os.fstat(handle).st_mode):
        return f"{node} is not a device"
    answer = bytearray(_CAPABILITIES.size)
    try:
        fcntl.ioctl(handle, _QUERY_CAPABILITIES, answer)
    except OSError as error:
        return f"{node} is not a video device ({error.strerror})"
    _, card, _, _, whole, own = _CAPABILITIES.unpack(answer)
    if not (own if whole & _NODE_HAS_ITS_OWN else whole) & _GIVES_PICTURES:
        name = bytes(card).partition(b"\0")[0].decode(errors="replace")
        return f"{node} of '{name}' delivers other data than pictures; use another number"
    return None


def _users(node: Path) -> list[str]:
    """Return the programs that hold a node open, as far as this user may see them."""
    users = []
    real = os.path.realpath(node)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(os.readlink(handle) == real for handle in (process / "fd").iterdir()):
                name = (process / "comm").read_text(errors="replace").strip()
                users.append("this program" if process.name == str(os.getpid()) else f"{name} (process {process.name})")
    return users
