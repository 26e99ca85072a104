"""Every kind of output is complete on the disk before it has its name, whoever kills or disturbs its writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mar_edge.errors import OutputError
from mar_edge.files.atomic_file import NewFile, write_whole
from mar_edge.files.atomic_folder import written_whole
from mar_edge.files.unfinished import SUFFIX, create_file, create_folder, sweep
from tests.conftest import ROOT
from tests.fakes.writers import WRITERS
from tests.files.test_whole_folder import KIND


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """What a process of its own found: it forks writers, and kills them."""
    folder = tmp_path_factory.mktemp("ends")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.ends", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(one["act"], one["kind"]): one for one in found}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    ends: dict[tuple[str, str], dict[str, Any]], kind: str
) -> None:
    found = ends["order", kind]
    assert not found["problem"], found["problem"]
    named = [index for index, call in enumerate(found["result"]) if call in ("replace", "exchange")]
    assert named
    for start, index in zip([0, *named], named, strict=False):
        assert "fsync" in found["result"][start:index]
        assert found["result"][index + 1] == "fsync"


@pytest.mark.parametrize("kind", WRITERS)
def test_killed_before_any_call_the_old_one_is_complete_and_the_next_start_cleans_up(
    ends: dict[tuple[str, str], dict[str, Any]], kind: str
) -> None:
    found = ends["kill", kind]
    assert not found["problem"], found["problem"]
    assert found["result"] >= 4


@pytest.mark.parametrize("kind", [kind for kind, writer in WRITERS.items() if writer.shared])
def test_two_writers_of_one_place(ends: dict[tuple[str, str], dict[str, Any]], kind: str) -> None:
    found = ends["race", kind]
    assert not found["problem"], found["problem"]
    assert found["result"] > 1


def whole(path: Path) -> None:
    write_whole(path, b"new")


def folder(path: Path) -> None:
    with written_whole(path, KIND) as place:
        (place / "file").write_text("new")


@pytest.mark.parametrize("write", [whole, folder])
def test_a_link_planted_at_the_unfinished_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)  # as if it could be guessed
    (tmp_path / "out").mkdir()
    planted = tmp_path / "out" / f".a.{'0' * 32}{SUFFIX}"
    for target in (victim / "file", victim, victim / "new"):
        planted.symlink_to(target)
        with pytest.raises(OutputError, match="cannot write"):
            write(tmp_path / "out" / "a")
        assert planted.is_symlink()  # a sweep leaves it, too
        planted.unlink()
    assert [(path.name, path.read_text()) for path in victim.iterdir()] == [("file", "mine")]


def test_a_sweep_removes_only_our_exact_mark_without_a_living_writer(tmp_path: Path) -> None:
    token = "0123456789abcdef" * 2
    kept = {
        "a.partial",
        f"a.{token}{SUFFIX}",
        f".a.{token}",
        f".a.{token}{SUFFIX}.txt",
        f".a.{token[:-1]}{SUFFIX}",
        f".a.{token.upper()}{SUFFIX}",
        f".{'a' * 41}.{token}{SUFFIX}",
    }
    for name in kept:
        (tmp_path / name).write_text("mine")
    os.mkfifo(tmp_path / f".fifo.{token}{SUFFIX}")
    (tmp_path / f".link.{token}{SUFFIX}").symlink_to("a.partial")
    kept |= {f".fifo.{token}{SUFFIX}", f".link.{token}{SUFFIX}"}
    (tmp_path / f".a.{token}{SUFFIX}").write_text("half")
    (tmp_path / f".b.{token}{SUFFIX}" / "deep").mkdir(parents=True)
    if os.geteuid() == 0:
        (tmp_path / f".other.{token}{SUFFIX}").write_text("of another user")
        os.chown(tmp_path / f".other.{token}{SUFFIX}", 12345, 12345)
        kept.add(f".other.{token}{SUFFIX}")
    file, file_lock = create_file(tmp_path / "c")
    place, folder_lock = create_folder(tmp_path / ("long" * 60))
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {file.name, place.name}
    os.close(file_lock)
    os.close(folder_lock)
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_where_no_locks_are_remains_stay_and_writing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    partial, lock = create_file(tmp_path / "a")
    os.close(lock)
    monkeypatch.setattr(fcntl, "flock", unsupported)
    whole(tmp_path / "a")
    folder(tmp_path / "b")
    assert {path.name for path in tmp_path.iterdir()} == {partial.name, "a", "b"}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_are_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        whole(tmp_path / "a")
        folder(tmp_path / "b")
    finally:
        os.umask(old)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "b", "b/file")]
    assert modes == [0o666 & ~umask, 0o777 & ~umask, 0o666 & ~umask]


def test_a_file_that_is_removed_while_it_is_written_is_not_taken_for_written(tmp_path: Path) -> None:
    with NewFile(tmp_path / "a") as new:
        new.file.write(b"new")
        new.partial.unlink()
        new.partial.write_bytes(b"of another")
        with pytest.raises(OSError, match="another program removed it"):
            new.finish()
    assert not (tmp_path / "a").exists()


def test_killed_between_the_three_steps_of_an_exchange_the_old_folder_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems without an exchange: for a moment there is no folder at the path."""
    code = (
        "import os, sys, ctypes; from pathlib import Path\n"
        "from tests.files.test_durability import folder\n"
        "ctypes.CDLL = lambda *_, **__: object()\n"
        "real, left = os.replace, [int(sys.argv[2])]\n"
        "def replace(*paths):\n"
        "    left[0] -= 1\n"
        "    if left[0] < 0: os.kill(os.getpid(), 9)\n"
        "    real(*paths)\n"
        "os.replace = replace\n"
        "folder(Path(sys.argv[1]))"
    )
    for step, found in ((1, "old"), (2, "new")):
        place = tmp_path / str(step) / "a.mar"
        with written_whole(place, KIND) as new:
            (new / "file").write_text("old")
        done = subprocess.run([sys.executable, "-c", code, place, str(step)], cwd=ROOT, check=False)
        assert done.returncode == -9
        assert place.exists() == (found == "new")
        with pytest.raises(KeyboardInterrupt), written_whole(place, KIND):
            assert (place / "file").read_text() == found
            raise KeyboardInterrupt
        assert [path.name for path in place.parent.iterdir()] == ["a.mar"]
