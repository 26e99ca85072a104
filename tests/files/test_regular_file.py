"""What is read as a file: regular ones, and links to them, up to a size; anything else is named and never waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mar_edge.bundle import BUILTIN, open_bundle
from mar_edge.datasets import clip_cache
from mar_edge.datasets.fingerprint import fingerprint
from mar_edge.datasets.video_list import read_labels, read_video_list
from mar_edge.errors import MarEdgeError, SourceError
from mar_edge.files.regular_file import open_regular, read_limited, read_text
from mar_edge.runtime.measurement import choice
from mar_edge.runtime.video.probe import probe
from mar_edge.runtime.video.reader import read_frames


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)  # the name of a socket must be short
    before = os.getcwd()
    os.fchdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)
        os.close(folder)


KINDS = {
    fifo: "it is a named pipe \\(FIFO\\), not a file",
    link_to_fifo: "it is a named pipe \\(FIFO\\), not a file",
    link_to_zero: "it is a device, not a file",
    unix_socket: "it is a socket, not a file",
    Path.mkdir: "it is a folder, not a file",
}


@pytest.mark.parametrize(("make", "says"), KINDS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_no_file_is_named(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "one")
    with pytest.raises(OSError, match=f"^{says}$"):
        open_regular(tmp_path / "one")
    with pytest.raises(OSError, match=says):
        read_text(tmp_path / "one")


def test_files_and_links_to_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\r\nb\rc\n")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_limited(tmp_path / name) == b"a\r\nb\rc\n"
        assert read_text(tmp_path / name) == "a\nb\nc\n"
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")


def test_the_limit_holds_whatever_the_size_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert len(read_limited(tmp_path / "file", 100)) == 100
    with pytest.raises(OSError, match="^it is larger than 99 bytes$"):
        read_limited(tmp_path / "file", 99)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="^it is larger than 16 MB$"):
        read_text(tmp_path / "sparse")


def read_list(path: Path) -> object:
    return read_video_list(path, labelled=True)


def read_recipe(path: Path) -> object:
    from mar_edge.training.recipe_file import read_recipe

    return read_recipe(path)


def read_profile(path: Path) -> object:
    from mar_edge.export import targets

    return targets.load(path)


def read_manifest(path: Path) -> object:
    path.rename(path.with_name("manifest.json"))
    return open_bundle(path.parent)


@pytest.mark.parametrize("make", [fifo, link_to_zero])
@pytest.mark.parametrize(
    "read",
    [read_list, read_labels, read_recipe, read_profile, read_manifest, probe, lambda path: next(read_frames(path))],
)
def test_no_reader_waits(tmp_path: Path, make: Callable[[Path], None], read: Callable[[Path], object]) -> None:
    folder = tmp_path / "x.mar"
    folder.mkdir()
    make(folder / "one.csv")
    with pytest.raises(MarEdgeError, match="it is a (named pipe|device)") as caught:
        read(folder / "one.csv")
    assert "\n" not in str(caught.value)
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("make", [fifo, link_to_zero])
def test_caches_are_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "clip")
    assert clip_cache.look_up(tmp_path / "clip") is None
    assert clip_cache.map_clip(tmp_path / "clip") is None
    assert fingerprint(tmp_path / "clip") is None
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "cache"))
    bundle = open_bundle(BUILTIN / "egomotion.mar")
    path = tmp_path / "cache" / choice.KIND / choice._file_name(bundle, None)
    path.parent.mkdir(parents=True)
    make(path)
    found, why = choice.recall(bundle)
    assert not found
    assert why is not None and "it is a" in why


def test_a_kernel_log_is_no_video() -> None:
    if not Path("/proc/kmsg").exists():
        pytest.skip("this system has no /proc/kmsg, a file that waits")
    with pytest.raises(SourceError):
        probe(Path("/proc/kmsg"))


@pytest.mark.parametrize("make", [fifo, link_to_zero])
def test_models_and_weights_are_files_too(tmp_path: Path, make: Callable[[Path], None]) -> None:
    from mar_edge.model import checkpoint
    from mar_edge.model.importing.weight_files import locate

    (tmp_path / "hf").mkdir()
    for place in (tmp_path / "x.safetensors", tmp_path / "hf" / "model.safetensors"):
        make(place)
    reads: list[Callable[[], object]] = [
        lambda: open_bundle(tmp_path / "x.safetensors"),
        lambda: checkpoint.load(tmp_path / "x.safetensors"),
        lambda: checkpoint.read_config(tmp_path / "x.safetensors"),
        lambda: locate(tmp_path / "x.safetensors"),
        lambda: locate(tmp_path / "hf"),
    ]
    for read in reads:
        with pytest.raises(MarEdgeError, match="safetensors is a (named pipe|device).*, not a file"):
            read()
