"""Outputs replace nothing but their own kind: every kind, every command, and what is there instead of a file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from mar_edge.bundle import BUNDLE
from mar_edge.cli.main import app
from mar_edge.errors import OutputError
from mar_edge.evaluation.report import write_report
from mar_edge.export.mask_picture import save_mask
from mar_edge.export.triton import write_triton
from mar_edge.files.atomic_file import write_output
from mar_edge.files.atomic_folder import written_whole
from mar_edge.files.marks import PICTURE
from mar_edge.files.ownership import FileKind, FolderKind, check_replaceable
from mar_edge.geometry import Geometry
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.runtime.sinks.json_lines import SCHEMA, JsonLines
from mar_edge.training.fabric import make_fabric
from mar_edge.training.recipe import TrainerPart
from mar_edge.training.run_folder import RunFolder
from tests.fakes.bundle import write_bundle
from tests.fakes.family import INFO, TINY, write_family
from tests.fakes.films import write_films

MINE = b"a week of work\n"


def write_lines(path: Path, *, force: bool = False) -> None:
    lines = JsonLines(str(path), force=force)
    lines({"type": "prediction", "stream": "new"})
    lines.close()


def write_checkpoint(path: Path, *, force: bool = False) -> None:
    checkpoint.save(path, build(TINY), TINY, INFO, force=force)


def write_page(path: Path, *, force: bool = False) -> None:
    write_report(path, title="t", facts={}, force=force)


def write_picture(path: Path, *, force: bool = False) -> None:
    save_mask(path, Geometry(), 50, title="t", force=force)


WRITERS: dict[str, Callable[..., None]] = {
    "o.jsonl": write_lines,
    "o.safetensors": write_checkpoint,
    "o.html": write_page,
    "o.png": write_picture,
}


def safetensors_of_others() -> bytes:
    from safetensors.torch import save

    return save({"a": torch.zeros(2)}, {"format": "pt"})


def picture_of_others() -> bytes:
    import cv2
    import numpy as np

    return bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1])


FOREIGN: dict[str, list[bytes]] = {
    "o.jsonl": [
        MINE,
        b'{"images": [1, 2],\n "annotations": []}\n',
        b'{"a": 1}',
        b'{"text": "my own line"}\n' * 3,
        b'{"type": "prediction", "stream": "my own data set", "label": "jump"}\n',
        b'{"type": "summary", "schema": "other/1"}\n',
        b'{"schema": "mar-edge/json-lines/1", "type": "summary"}\n',
        b'["type", "schema", "mar-edge/json-lines/1"]\n',
        b'{"type": "summary", "schema": "mar-edge/json-lines/1"}\n{"text": "added by hand"}\n',
        b'{"type": "summary", "schema": "mar-edge/json-lines/1"}\nadded by hand',
        b'\xef\xbb\xbf{"type": "summary"}\n',
        b"[" * 200_000,
        b"\x00\x00\x00\x20ftypisom",
        b"path,label\na.mp4,jump\n",
    ],
    "o.safetensors": [MINE, safetensors_of_others(), b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x00\x00\x00\x20ftyp"],
    "o.html": [MINE, b"<!doctype html>\n<html><body>my page about mar-edge/report/1</body></html>"],
    "o.png": [MINE, picture_of_others(), b"\x89PNG\r\n\x1a\n"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name, all_ in FOREIGN.items() for content in all_])
def test_a_file_of_others_is_refused_and_kept_and_force_replaces_it(tmp_path: Path, name: str, content: bytes) -> None:
    path, write = tmp_path / name, WRITERS[name]
    path.write_bytes(content)
    with pytest.raises(OutputError, match="was not written by mar-edge as a .*--force"):
        write(path)
    assert path.read_bytes() == content
    write(path, force=True)
    write(path)  # which is now ours
    assert path.read_bytes() != content
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_there_instead_of_a_file(tmp_path: Path, name: str) -> None:
    write, target, link = WRITERS[name], tmp_path / "real", tmp_path / name
    for old in (None, b"", b"ours"):  # through a link, whether something is there or not
        if old == b"":
            target.write_bytes(b"")
        link.unlink(missing_ok=True)
        link.symlink_to("real")
        write(link)
        assert link.is_symlink()
        assert target.stat().st_size > 20
    target.write_bytes(MINE)
    with pytest.raises(OutputError, match="was not written by mar-edge"):
        write(link)
    assert target.read_bytes() == MINE
    link.unlink()
    link.symlink_to(name)  # to itself
    with pytest.raises(OutputError, match="Too many levels"):
        write(link)
    link.unlink()
    link.mkdir()
    for force in (False, True):
        with pytest.raises(OutputError, match="is a folder; name a file in it"):
            write(link, force=force)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "real"])


@pytest.mark.parametrize("name", WRITERS)
def test_devices_and_fifos_are_written_to_and_stay(tmp_path: Path, name: str) -> None:
    write, path = WRITERS[name], tmp_path / name
    path.symlink_to(os.devnull)
    write(path)
    assert Path(os.devnull).is_char_device()
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left"):
        write(path)
    path.unlink()
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write(path)
    reader.join(10)
    assert len(got[0]) > 20
    assert path.is_fifo()


def test_a_torn_line_is_still_ours(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    for torn in (b'{"ty', b'{"type": "predic', b"{"):
        path.write_bytes(b'{"type": "prediction", "schema": "%s"}\n' % SCHEMA.encode() + torn)
        write_lines(path)
        assert json.loads(path.read_bytes())["stream"] == "new"


def test_the_parts_of_a_file_that_fails_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = FileKind("note", lambda file: file.read(1) == b"n")
    write_output(tmp_path / "deep" / "n", b"no", b"te", kind=kind)
    assert (tmp_path / "deep" / "n").read_bytes() == b"note"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="cannot write the note .*No space left.*Make room"):
        write_output(tmp_path / "deep" / "n", b"new", kind=kind)
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["n"]


def test_a_bundle_with_files_of_others_is_refused_by_name(tmp_path: Path) -> None:
    from mar_edge import bundle as bundles

    out = write_bundle(tmp_path / "a.mar")
    (out / "card").mkdir()
    (out / "card" / "README.md").write_text("mine")
    (out / "z").symlink_to("/")
    told = r"contains card/README\.md and 1 more, which mar-edge did not write"
    with pytest.raises(OutputError, match=told), bundles.writing(out):
        pass
    assert (out / "card" / "README.md").read_text() == "mine"
    with bundles.writing(out, force=True) as folder:
        write_bundle(folder, name="new")
    assert not (out / "card").exists()


@pytest.mark.parametrize("damage", ["no schema", "no hash", "neither"])
def test_a_bundle_is_known_by_its_schema_or_its_own_hash(tmp_path: Path, damage: str) -> None:
    from mar_edge import bundle as bundles

    out = write_bundle(tmp_path / "a.mar")
    values = json.loads((out / "manifest.json").read_text())
    for key in {"no schema": ["schema"], "no hash": ["sha256"], "neither": ["schema", "sha256"]}[damage]:
        del values[key]
    (out / "manifest.json").write_text(json.dumps(values))
    if damage == "neither":  # any web application has a manifest.json
        with pytest.raises(OutputError, match="was not written by mar-edge as a bundle, or is damaged"):
            check_replaceable(out, bundles.BUNDLE)
    else:
        check_replaceable(out, bundles.BUNDLE)
    check_replaceable(out, bundles.BUNDLE, force=True)


THING = FolderKind("thing", "sign", lambda folder: {"sign"} if (folder / "sign").is_file() else None)


def test_what_is_there_instead_of_a_folder(tmp_path: Path) -> None:
    def write(path: Path, *, force: bool = False) -> None:
        with written_whole(path, THING, force=force) as folder:
            (folder / "sign").write_text("new")

    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "sign").write_text("old")
    (tmp_path / "current").symlink_to("v1")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis").write_bytes(MINE)
    (tmp_path / "file").write_bytes(MINE)
    os.mkfifo(tmp_path / "fifo")
    before = sorted(entry.name for entry in tmp_path.iterdir())
    for force in (False, True):
        for name in ("current", "dangling"):
            with pytest.raises(OutputError, match=f"{name} is a link to .*; name that folder itself"):
                write(tmp_path / name, force=force)
        with pytest.raises(OutputError, match="was not written by mar-edge as a thing.*move it away"):
            write(tmp_path / "other", force=force)
        with pytest.raises(OutputError, match="fifo is a file and not a thing"):
            write(tmp_path / "fifo", force=force)
    with pytest.raises(OutputError, match="file is a file and not a thing"):
        write(tmp_path / "file")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before
    assert (tmp_path / "v1" / "sign").read_text() == "old"
    assert (tmp_path / "file").read_bytes() == MINE
    write(tmp_path / "file", force=True)
    assert (tmp_path / "file" / "sign").read_text() == "new"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_a_folder_that_becomes_anothers_meanwhile_is_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="contains thesis, which mar-edge did not write"),
        written_whole(tmp_path / "a", THING) as folder,
    ):
        (folder / "sign").write_text("new")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "sign").write_text("old")
        (tmp_path / "a" / "thesis").write_bytes(MINE)
    assert (tmp_path / "a" / "thesis").read_bytes() == MINE
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_models_that_others_added_to_a_repository_stay(tmp_path: Path) -> None:
    bundle = write_family(tmp_path / "a.mar", precisions=("fp32",))
    write_triton(bundle, tmp_path / "models")
    write_triton(bundle, tmp_path / "models")
    theirs = tmp_path / "models" / "detector" / "1" / "model.onnx"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(MINE)
    with pytest.raises(OutputError, match=r"contains detector/1/model\.onnx, which mar-edge did not write"):
        write_triton(bundle, tmp_path / "models")
    assert theirs.read_bytes() == MINE


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "log.jsonl", "report.html", ".lock"])
def test_a_training_replaces_no_file_of_others(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(MINE)
    with pytest.raises(OutputError, match="was not written by mar-edge as a .*Set trainer.out to another folder"):
        RunFolder(tmp_path, {}, make_fabric(TrainerPart(steps=1, out=tmp_path)))
    assert (tmp_path / name).read_bytes() == MINE
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


# every command that writes where it is told to: the words before the option, and the name of a file that is in its place
COMMANDS: dict[tuple[str, str], list[str]] = {
    ("run", "--json"): ["--source", "demo:realtime=no", "--max-seconds", "2"],
    ("record", "--json"): [
        "--source",
        "demo:realtime=no",
        "--label",
        "x",
        "-o",
        "{fresh}",
        "--every",
        "5",
        "--count",
        "1",
    ],
    ("classify", "--json"): ["{clip}"],
    ("evaluate", "--json"): ["egomotion", "--data", "{clips}"],
    ("evaluate", "--report"): ["egomotion", "--data", "{clips}"],
    ("data check", "--json"): ["{clips}"],
    ("init", "--out"): ["{clips}"],
    ("import", "--out"): ["{checkpoint}"],
    ("export", "--out"): ["egomotion"],
    ("export", "--triton"): ["egomotion", "-o", "{fresh}.mar"],
    ("calibrate", "--out"): ["egomotion", "--data", "{clips}"],
    ("verify", "--json"): ["egomotion"],
    ("profile", "--json"): ["egomotion"],
    ("inspect", "--png"): ["egomotion"],
}
NAMES = {("evaluate", "--report"): "mine.html", ("inspect", "--png"): "mine.png", ("init", "--out"): "mine.yaml"}
FORCED = [
    ("run", "--json"),
    ("classify", "--json"),
    ("data check", "--json"),
    ("inspect", "--png"),
    ("export", "--out"),
]


def outputs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """All options that say that they write something; newer typer brings a click of its own, so its classes have no name."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from outputs(inner, (*words, name))
        return
    for option in command.params:
        told = str(getattr(option, "help", "") or "")
        names = [name for name in option.opts if name.startswith("--")]
        if names and option.metavar and (told.startswith(("Write", "Also write")) or told.endswith(" to write.")):
            yield " ".join(words), names[0]


def test_the_table_has_every_option_that_writes() -> None:
    assert set(outputs(typer.main.get_command(app))) == set(COMMANDS)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("places")
    clips = write_films(folder / "clips", 1).parent
    clip = clips / "left_0.mp4"
    (folder / "checkpoint.pth").write_bytes(b"none")
    names = {"clips": clips, "clip": clip, "checkpoint": folder / "checkpoint.pth", "fresh": folder / "fresh"}
    return {name: str(path) for name, path in names.items()}


@pytest.mark.parametrize(("command", "option"), COMMANDS)
def test_every_command_refuses_a_file_of_others(
    tmp_path: Path, places: dict[str, str], command: str, option: str
) -> None:
    mine = tmp_path / NAMES.get((command, option), "mine")
    mine.write_bytes(MINE)
    words = [word.format(**places) for word in COMMANDS[command, option]]
    result = CliRunner().invoke(app, [*command.split(), *words, option, str(mine)])
    assert isinstance(result.exception, OutputError), result.output
    assert "--force" in str(result.exception)
    assert mine.read_bytes() == MINE
    assert [entry.name for entry in tmp_path.iterdir()] == [mine.name]
    assert not Path(places["fresh"] + ".mar").exists()
    if (command, option) in FORCED:
        result = CliRunner().invoke(app, [*command.split(), *words, option, str(mine), "--force"])
        assert not isinstance(result.exception, OutputError), result.output
        assert mine.is_dir() or MINE not in mine.read_bytes()


def test_a_trade_off_replaces_no_picture_of_others(tmp_path: Path, places: dict[str, str]) -> None:
    bundle = write_family(tmp_path / "a.mar", precisions=("fp32",)).path
    picture = tmp_path / "a-mask50-int8-cpu-trade-off.png"
    picture.write_bytes(picture_of_others())
    words = ["calibrate", str(bundle), "--data", places["clips"], "--target-drop", "0"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, OutputError), result.output
    assert "was not written by mar-edge as a picture" in str(result.exception)
    save_mask(picture, Geometry(), 50, title="t", force=True)
    check_replaceable(picture, PICTURE)


def test_a_pipe_under_the_name_of_a_graph_is_not_ours(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "a.mar")
    check_replaceable(folder, BUNDLE)
    graph = next(folder.glob("*.onnx"))
    graph.unlink()
    os.mkfifo(graph)
    with pytest.raises(OutputError, match=f"contains {graph.name}, which mar-edge did not write"):
        check_replaceable(folder, BUNDLE)
