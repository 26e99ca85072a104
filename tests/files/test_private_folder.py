"""Caches are for one user: how they are made, and which are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mar_edge.cli.main import app
from mar_edge.errors import OutputError
from mar_edge.files.private_folder import make_private, why_untrusted
from mar_edge.runtime.device import cache


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def test_a_new_cache_is_for_this_user_only(place: Path) -> None:
    old = os.umask(0)
    try:
        cache.folder("tensorrt")
    finally:
        os.umask(old)
    assert [path.stat().st_mode & 0o777 for path in (place, place / "tensorrt")] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o720, 0o2775])
@pytest.mark.parametrize("part", [".", "tensorrt"])
def test_a_cache_that_others_can_write_to_is_refused_in_one_line(place: Path, mode: int, part: str) -> None:
    cache.folder("tensorrt")
    (place / part).chmod(mode)
    for call in (cache.folder, cache.location):
        with pytest.raises(
            OutputError, match=rf"other users \(mode {mode:04o}\).* run: chmod go-w .*set MAR_EDGE_CACHE"
        ) as told:
            call("tensorrt")
        assert "\n" not in str(told.value)
    (place / part).chmod(0o755)  # others may read
    assert cache.folder("tensorrt") == cache.location("tensorrt") == place / "tensorrt"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_cache_of_another_user_is_refused_also_by_root(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.folder("tensorrt")
    os.chown(place, 12345, 12345)
    with pytest.raises(OutputError, match="belongs to user 12345, and mar-edge runs as user 0.* Set MAR_EDGE_CACHE"):
        cache.folder("tensorrt")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)  # its own is fine, and so is what root made in an image
    assert why_untrusted(place) is None
    assert why_untrusted(place / "tensorrt") is None
    (place.parent / "link").symlink_to(place)
    os.chown(place.parent / "link", 999, 999, follow_symlinks=False)
    assert why_untrusted(place.parent / "link") == "belongs to user 999, and mar-edge runs as user 12345"


def test_a_link_to_a_folder_of_ones_own_is_used(place: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    place.parent.mkdir()
    place.symlink_to(tmp_path / "disk")
    assert cache.folder("tensorrt") == place / "tensorrt"
    assert (tmp_path / "disk" / "tensorrt").is_dir()


def test_recognition_works_without_an_untrusted_cache_and_says_why(place: Path) -> None:
    import mar_edge

    place.mkdir(parents=True)
    place.chmod(0o777)
    loaded = mar_edge.load("egomotion")
    assert "cannot be read: the cache" in loaded.reason
    assert "can be written by other users (mode 0777)" in loaded.reason
    result = CliRunner().invoke(
        app, ["calibrate", "egomotion", "--data", str(place), "-o", str(place.parent / "o.mar")]
    )
    assert isinstance(result.exception, OutputError)
    assert "can be written by other users" in str(result.exception)


def test_an_existing_folder_keeps_its_mode_and_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen").chmod(0o775)
    make_private(tmp_path / "chosen")
    assert (tmp_path / "chosen").stat().st_mode & 0o777 == 0o775
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "file")
