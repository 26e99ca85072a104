"""What reaches a real terminal: no control sequence of a file name, a bundle, a recipe, or a library's message."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mar_edge.bundle import open_bundle
from mar_edge.calibration.trade_off import Row
from mar_edge.calibration.trade_off_plot import plot
from mar_edge.cli.main import app
from mar_edge.datasets.video_list import read_labels, read_video_list
from mar_edge.errors import BundleError, CheckpointError, DataError, MarEdgeError, RecipeError
from mar_edge.manifest import Parity
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.printable import printable
from mar_edge.training import recipe as recipes
from tests.conftest import ROOT
from tests.fakes.bundle import manifest, write_bundle
from tests.fakes.command_line import records
from tests.fakes.video_files import write_video
from tests.house.test_printable import CLIPBOARD, HOSTILE, has_none

TIMES_S = [index / 10 for index in range(30)]

HOSTILE_NAME = f"a{CLIPBOARD}\x1b[2J\x9b2J\u202e[red]\nmar-edge: b"


def on_a_terminal(*command: str | Path) -> str:
    """Run a command with a terminal for all its streams, and return what it wrote there."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (50, 300)) if hasattr(termios, "tcsetwinsize") else None
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "300"}
    process = subprocess.Popen([*map(str, command)], stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    written = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        written += part
    os.close(ours)
    process.wait(timeout=60)
    return written.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def test_a_file_name_in_the_live_view(tmp_path: Path) -> None:
    clip = tmp_path / f"{HOSTILE_NAME}.mp4"
    write_video(clip, TIMES_S)
    shown = on_a_terminal(sys.executable, "-m", "mar_edge", "run", "--source", clip)
    assert has_none(shown), repr(shown)
    assert "\x1b[" in shown  # the view is drawn in colour
    assert printable(HOSTILE_NAME) in shown
    assert "frames," in shown


@pytest.mark.parametrize("arguments", [["fly" + HOSTILE_NAME], ["--" + HOSTILE_NAME], ["inspect", HOSTILE_NAME]])
def test_a_wrong_command_line(arguments: list[str]) -> None:
    shown = on_a_terminal(sys.executable, "-m", "mar_edge", *arguments)
    assert has_none(shown), repr(shown)
    assert r"\x1b]52;c;Y3VybCBldmlsfHNo" in shown or "No such option" in shown


LIBRARY = r"""
import logging, sys, threading, warnings
from mar_edge.cli.endings import print_thread_errors_in_one_line
from mar_edge.cli.standard_streams import open_standard_streams
from mar_edge.console import Console, Field
from mar_edge.errors import SourceError
open_standard_streams()
print_thread_errors_in_one_line()
BAD = "x\x1b]0;owned\x07\x1b[2J\x9b2J"
def speak():
    logging.getLogger("library").warning("log %s", BAD)
    warnings.warn("warn " + BAD)
    print("print", BAD)
speak()
with Console().bar(Field()) as bar:
    bar.add_task("bar " + BAD)
    speak()
def fail():
    raise SourceError("thread " + BAD)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise ValueError("traceback " + BAD)
"""


def test_what_libraries_print() -> None:
    shown = on_a_terminal(sys.executable, "-W", "always", "-c", LIBRARY)
    assert has_none(shown), repr(shown)
    bad = r"x\x1b]0;owned\x07\x1b[2J\x9b2J"
    for word, count in (("log", 2), ("warn", 2), ("print", 2), ("mar-edge: thread", 1), ("ValueError: traceback", 1)):
        assert shown.count(f"{word} {bad}") == count, (word, shown)
    assert f"bar {bad}" in shown


@pytest.mark.parametrize("text", HOSTILE[:-2])  # lone surrogates are no JSON text
@pytest.mark.parametrize("key", ["name", "labels", "idle_label"])
def test_a_bundle_with_control_characters_in_a_label_is_refused(tmp_path: Path, key: str, text: str) -> None:
    bad = f"bright{text}"
    labels = ["dark", "light", bad if key != "name" else "bright"]
    changes: dict[str, Any] = {"labels": labels, "idle_label": bad if key == "idle_label" else "dark"}
    folder = write_bundle(tmp_path / "a.mar", **changes, name=bad if key == "name" else "fake")
    with pytest.raises(BundleError, match="contains control characters. Rename it") as caught:
        open_bundle(folder)
    assert printable(bad) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [*HOSTILE[:-2], "[red]x[/]", "[/z]\\", "a\nb"])
def test_the_card_of_a_bundle_is_literal(tmp_path: Path, text: str) -> None:
    values = manifest()
    values["variants"][0]["parity"] |= {"source": text, "reference": text}
    values["variants"][0] |= {"kept": [text], "quantisation": {"method": text, "source": text, "rest": text}}
    provenance = {"command": text, "data": {text: [text]}, "export": {"command": text, "versions": {text: text}}}
    folder = write_bundle(
        tmp_path / "a.mar", description=text, licence=text, architecture={"classifier": text}, provenance=provenance,
        variants=values["variants"],
    )  # fmt: skip
    done = CliRunner().invoke(app, ["inspect", str(folder)], env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    assert has_none(done.stdout)
    assert done.stdout.count(printable(text)) == 15


def test_json_has_no_control_characters(tmp_path: Path) -> None:
    clips = [tmp_path / f"{HOSTILE_NAME}{number}.mp4" for number in range(2)]
    write_video(clips[0], TIMES_S)
    done = CliRunner().invoke(app, ["classify", *map(str, clips), "--json", "-"])
    assert isinstance(done.exception, MarEdgeError)  # the second is missing
    prediction, warning = records(done.stdout)
    assert done.stdout.replace("\n", "").isascii()
    assert done.stdout.replace("\n", "").isprintable()
    assert prediction["stream"] == warning["stream"].replace("1.mp4", "0.mp4") == str(clips[0])
    assert printable(HOSTILE_NAME) in warning["message"].replace("\n", "\\n")
    assert has_none(done.stderr)
    assert printable(HOSTILE_NAME) in done.stderr


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\u202e", "\x7f"])
def test_labels_are_refused_where_they_enter(tmp_path: Path, text: str) -> None:
    bad = f"jump{text}x"
    told = re.escape(f"'{printable(bad)}'") + ".* contains control characters"
    for folder in ("good", bad):
        (tmp_path / "data" / folder).mkdir(parents=True)
        write_video(tmp_path / "data" / folder / "a.mp4", [0, 0.1])
    (tmp_path / "list.csv").write_text(f"path,label\ndata/good/a.mp4,{bad}\n", encoding="utf-8")
    (tmp_path / "names.txt").write_text(f"run\n{bad}\n", encoding="utf-8")
    recipe = yaml.safe_load((ROOT / "training" / "egomotion.yaml").read_text(encoding="utf-8")) | {"name": bad}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    for kind, enter in (
        (DataError, lambda: read_video_list(tmp_path / "data")),
        (DataError, lambda: read_video_list(tmp_path / "list.csv")),
        (DataError, lambda: read_labels(tmp_path / "names.txt")),
        (CheckpointError, lambda: CheckpointInfo(name="a", labels=["good", bad])),
        (RecipeError, lambda: recipes.load(tmp_path / "recipe.yaml")),
    ):
        with pytest.raises(kind, match=told) as caught:
            enter()
        assert str(caught.value).isprintable()
        assert "rename it" in str(caught.value).lower()


def test_a_name_in_a_picture_is_not_read_as_a_formula(tmp_path: Path) -> None:
    parity = Parity(max_abs_error=0, bound=1, clips=1, source="a", kl=0.1, top1_agreement=1.0)
    plot([Row(("$\\frac{$",), 10, 1.0, parity, (), 0.0)], tmp_path / "a.png", title="$\\frac{$")
    assert (tmp_path / "a.png").stat().st_size > 1000
