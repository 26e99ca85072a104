"""Folders written whole: what a reader sees at any moment, and what interrupts and kills leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mar_edge.errors import OutputError
from mar_edge.files.atomic_folder import written_whole
from mar_edge.files.ownership import FolderKind

KIND = FolderKind("thing", "file", lambda folder: {"file"} if (folder / "file").is_file() else None)


def fill(path: Path, text: str) -> None:
    with written_whole(path, KIND) as folder:
        (folder / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["in one step", "in three"])
def _exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to change places; the second is for file systems without the first."""
    if request.param == "in three":

        class Old:
            """A C library without renameat2."""

            def __init__(self, *_: object, **__: object) -> None:
                pass

        monkeypatch.setattr("mar_edge.files.atomic_folder.ctypes.CDLL", Old)


@pytest.mark.usefixtures("_exchange")
def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        fill(tmp_path / "a.mar", text)
        assert (tmp_path / "a.mar" / "file").read_text() == text
        assert names(tmp_path) == ["a.mar"]


@pytest.mark.usefixtures("_exchange")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_what_fails_while_it_is_filled_leaves_the_old_one(tmp_path: Path, kind: type[BaseException]) -> None:
    fill(tmp_path / "a.mar", "old")
    with pytest.raises(kind), written_whole(tmp_path / "a.mar", KIND) as folder:
        (folder / "file").write_text("half")
        raise kind
    assert (tmp_path / "a.mar" / "file").read_text() == "old"
    assert names(tmp_path) == ["a.mar"]


@pytest.mark.parametrize("at", [0, 1])
def test_an_interrupt_while_they_change_places_in_three_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    fill(tmp_path / "a.mar", "old")
    monkeypatch.setattr("mar_edge.files.atomic_folder.ctypes.CDLL", lambda *_, **__: object())
    replace, calls = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        calls.append(source)
        replace(source, target)
        if len(calls) == at + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("mar_edge.files.atomic_folder.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "a.mar", "new")
    assert (tmp_path / "a.mar" / "file").read_text() == ("old" if at == 0 else "new")


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from mar_edge.files.atomic_folder import written_whole\n"
        "from tests.files.test_whole_folder import KIND\n"
        "with written_whole(Path(sys.argv[1]), KIND) as folder:\n"
        "    (folder / 'file').write_text('half'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mar"], check=False)
    assert done.returncode == -9
    assert len(names(tmp_path)) == 1
    with written_whole(tmp_path / "a.mar", KIND):  # one that lives beside it is left alone
        fill(tmp_path / "b.mar", "other")
        fill(tmp_path / "a.mar", "new")
        assert len([name for name in names(tmp_path) if name.startswith(".a.mar.")]) == 1
    assert names(tmp_path) == ["a.mar", "b.mar"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*a\.mar.*Choose a path you can write to"):
        fill(tmp_path / "file" / "a.mar", "new")
