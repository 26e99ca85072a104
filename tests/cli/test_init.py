"""`mar-edge init` and `mar-edge train --data`."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

import pytest

from mar_edge.cli.init import _Asking
from mar_edge.cli.train import _named, _recipe_for
from mar_edge.console import Console
from mar_edge.errors import OptionError
from mar_edge.training.first_recipe.first_recipe import InitOptions
from tests.fakes.command_line import fails_with, mar_edge
from tests.fakes.video_files import write_video

SMALL = ["baselines=false", "trainer.workers=0", "trainer.threads=1", "trainer.batch=4", "model.size_px=32"]


def clips(folder: Path, people: int = 4, each: int = 2) -> Path:
    length = 40
    for label in ("none", "wave"):
        (folder / label).mkdir(parents=True)
        for person in range(people):
            for clip in range(each):
                write_video(
                    folder / label / f"person{person}_{clip}.mp4", [n / 30 for n in range(length)], size=(48, 48)
                )
                length += 1
    return folder


def test_a_folder_becomes_a_checkpoint_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips(tmp_path / "clips")
    words = ["train", "--data", "clips", "--minutes", "2", "-o", "runs/mine"]
    done = mar_edge(*words, "trainer.steps=1", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "clips is not split yet, so it is now, into runs/mine/recipe_lists: " in done.stderr
    assert "Idle class: 'none'; its name says" in done.stderr
    assert "written: runs/mine/recipe.yaml" in done.stderr and "step 1 of 1" in done.stderr
    assert (tmp_path / "runs/mine/last.safetensors").is_file()
    monkeypatch.chdir(tmp_path)
    path = Path("runs/mine/recipe.yaml")
    recipe = path.read_text()
    assert "# made by: mar-edge train --data clips -o runs/mine --minutes 2\n" in recipe
    assert _recipe_for(Path("clips"), Path("runs/mine"), InitOptions(minutes=2)) == path
    assert path.read_text() == recipe
    write_video(tmp_path / "clips/wave/person9_0.mp4", [n / 30 for n in range(60)], size=(48, 48))
    assert _recipe_for(Path("clips"), Path("runs/mine"), InitOptions(minutes=2)) == path
    told = capsys.readouterr().err
    assert "1 clip of clips is newer than that recipe and does not train: wave/person9_0.mp4" in told
    with pytest.raises(
        OptionError, match="was made by: mar-edge train --data clips -o runs/mine --minutes 2, and this is"
    ):
        _recipe_for(Path("clips"), Path("runs/mine"), InitOptions(minutes=5))


def test_either_a_recipe_or_data() -> None:
    for words, says in (
        (["train"], "--data"),
        (["train", "r.yaml", "--data", "clips"], "not both"),
        (["train", "r.yaml", "--minutes", "5"], "is for --data"),
        (["train", "r.yaml", "--mirror", "no"], "is for --data"),
        (["init", "clips"], "--out"),
        (["init", "clips", "-o", "r.txt"], "my_recipe.yaml"),
        (["init", "clips", "-o", "r.yaml", "--mirror", "perhaps"], "perhaps"),
    ):
        done = mar_edge(*words)
        assert done.returncode == 2, words
        assert says in done.stderr, words


def test_what_cannot_be_used_is_one_line(tmp_path: Path, real_clips: Path) -> None:
    out = tmp_path / "r.yaml"
    fails_with("only a check by eye remains. Record each class at least 5 times", "init", real_clips / "asl", "-o", out)
    fails_with("no such file or folder", "init", tmp_path / "missing", "-o", out)
    for minutes in ("0", "nan", "1e9"):
        fails_with("expected 0.5 to 100,000 minutes", "init", tmp_path, "-o", out, "--minutes", minutes)
    clips(tmp_path / "clips", people=1, each=6)
    fails_with("are of one person, 'person0'", "train", "--data", tmp_path / "clips", "-o", tmp_path / "run")
    out.write_text("mine")
    fails_with("--force", "init", tmp_path / "clips", "-o", out)
    assert out.read_text() == "mine" and not (tmp_path / "run").exists()


def test_a_run_is_named_after_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "clips v1.5"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    (folder / "clips.csv").write_text("path,label\n")
    monkeypatch.chdir(folder)
    for data, name in ((".", "clips v1.5"), ("../link", "link"), ("clips.csv", "clips"), ("/", "clips")):
        assert _named(Path(data)) == name


def test_a_person_is_asked_until_an_answer_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter(["perhaps", "s", ""])
    monkeypatch.setattr("builtins.input", lambda: next(given))
    console = Console(file=io.StringIO(), record=True, width=200)
    with ExitStack() as bars:
        asked = _Asking(console, bars)
        asked.progress("reading lengths", 1, 2)
        assert asked.ask("Swap?", ("swap", "keep", "no"), "no") == "swap"
        assert asked.ask("Swap?", ("swap", "keep", "no"), "no") == "no"
    assert "'perhaps' is not one of swap, keep, no" in console.export_text()
