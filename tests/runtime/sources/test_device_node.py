"""What a camera's device node says: missing, not permitted, in use and no camera are told apart."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mar_edge.runtime.sources import device_node
from mar_edge.runtime.sources.device_node import Trouble, camera_numbers, why_not_open, why_silent
from tests.conftest import need

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="device nodes are Linux's")


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Path]:
    """A folder that an ordinary user may enter, being that user."""
    need(os.geteuid() == 0, "only root can become another user")
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    groups = os.getgroups()
    os.setgroups([])
    yield tmp_path
    os.seteuid(0)
    os.setegid(0)
    os.setgroups(groups)


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have the system refuse every node, as only a real driver does."""

    def refused(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("mar_edge.runtime.sources.device_node.os.open", refused)


def test_a_missing_camera(tmp_path: Path) -> None:
    assert why_not_open(3, tmp_path) == Trouble(
        "not-found", f"no camera 3: {tmp_path}/video3 does not exist, no camera was found. Run: mar-edge cameras"
    )
    for name in ("video0", "video12", "video-left", "media0"):
        (tmp_path / name).touch()
    assert camera_numbers(tmp_path) == [0, 12]
    assert "does not exist, available: 0, 12." in why_not_open(3, tmp_path).message
    (tmp_path / "video5").symlink_to("gone")
    assert "does not exist" in why_not_open(5, tmp_path).message


@pytest.mark.parametrize(("mode", "group", "says"), [
    (0o660, 44, r"is -rw-rw---- of group \w+, and this user is not in it. Run: sudo usermod -aG \w+ \w+, then log in again$"),
    (0o000, 44, r"is ---------- of group \w+, which denies access to ordinary users. Run: sudo chgrp video \S+/video7 && sudo chmod 660"),
    (0o660, 0, r"is -rw-rw---- of group \w+, which denies access to ordinary users. Run: sudo chgrp video"),
])  # fmt: skip
def test_a_camera_that_is_not_permitted(nobody: Path, mode: int, group: int, says: str) -> None:
    node = nobody / "video7"
    node.touch()
    os.chown(node, 0, group)
    node.chmod(mode)
    os.setegid(65534)
    os.seteuid(65534)
    code, said = why_not_open(7, nobody)
    assert code == "permission"
    assert re.match(f"camera 7 is not permitted: {node} {says}", said), said


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.EPERM, "permission", "not permitted here: in a container start it with --device"),
        (errno.EBUSY, "busy", "camera 0 is in use: another program uses"),
        (errno.ENXIO, "not-found", "has no device behind it; check its cable and its driver"),
        (errno.ENODEV, "not-found", "has no device behind it"),
        (errno.EIO, "unreadable", "Input/output error"),
    ],
)
def test_a_node_that_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str, says: str
) -> None:
    (tmp_path / "video0").touch()
    refuse(monkeypatch, number)
    trouble = why_not_open(0, tmp_path)
    assert trouble.code == code
    assert says in trouble.message


def test_a_busy_camera_names_the_program_that_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "video0"
    node.touch()
    with node.open():
        assert "this program uses" in why_silent(0, tmp_path)
    with node.open() as handle:
        holder = subprocess.Popen(["sleep", "60"], stdin=handle)
    try:
        refuse(monkeypatch, errno.EBUSY)
        assert why_not_open(0, tmp_path) == Trouble(
            "busy", f"camera 0 is in use: sleep (process {holder.pid}) uses {node}; close that program"
        )
    finally:
        holder.kill()
        holder.wait()


def test_what_is_no_camera(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    (tmp_path / "video1").symlink_to("/dev/zero")
    assert "video0 is not a device" in why_not_open(0, tmp_path).message
    assert re.search("video1 is not a video device", why_not_open(1, tmp_path).message)


@pytest.mark.parametrize(("whole", "own", "fits"), [
    (0x85200001, 0x04200001, True),  # a USB camera's pictures
    (0x84A00001, 0x04A00000, False),  # its metadata, at the next number
    (0x00000001, 0, True),  # an old driver
    (0x84208000, 0x04208000, False),  # a decoder
    (0x84201000, 0x04201000, True),  # in planes
])  # fmt: skip
def test_a_node_without_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int, own: int, fits: bool
) -> None:
    def answer(_handle: int, request: int, buffer: bytearray) -> None:
        assert (request, len(buffer)) == (0x80685600, 104)
        buffer[:] = device_node._CAPABILITIES.pack(b"uvcvideo", b"HD Camera", b"usb-1", 0, whole, own)

    (tmp_path / "video1").symlink_to("/dev/zero")
    monkeypatch.setattr("mar_edge.runtime.sources.device_node.fcntl.ioctl", answer)
    said = why_not_open(1, tmp_path).message
    assert ("of 'HD Camera' delivers other data than pictures; use another number" in said) is not fits
    assert ("check its cable" in said) is fits


def test_a_camera_that_was_unplugged(tmp_path: Path) -> None:
    assert why_silent(0, tmp_path) == f"is disconnected: {tmp_path}/video0 no longer exists; check its cable"
