"""A training that is watched: patience, what is said live and in a log, the weights to use and the report at its end."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mar_edge.console import Console
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.model import checkpoint
from mar_edge.training import recipe as recipes
from mar_edge.training.progress import Pace, TrainingView
from mar_edge.training.trainer import train
from mar_edge.training.validation import validate as judge
from tests.fakes.films import write_films
from tests.fakes.recipes import tiny

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("films")
    return write_films(folder / "train", 3), write_films(folder / "val", 2, first_seed=50), folder / "cache"


@pytest.fixture
def recipe(tmp_path: Path, lists: tuple[Path, Path, Path]) -> Path:
    values = tiny(tmp_path, lists[0], lists[2])
    values["data"]["val"] = str(lists[1])
    values["trainer"] |= {"steps": 20, "validate_steps": 2}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def recorded(terminal: bool = False) -> Console:
    return Console(record=True, width=400, file=io.StringIO(), force_terminal=terminal)


def with_loss(evaluation: Evaluation, loss: float) -> Evaluation:
    """Give every clip the score of its true class that makes this loss."""
    true, rows = np.float32(np.exp(-loss)), np.arange(len(evaluation.targets))
    scores = np.full_like(evaluation.scores, 1 - true)
    scores[rows, evaluation.targets] = true
    return replace(evaluation, scores=scores)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Validation losses as given, one after the other."""

    def give(*values: float) -> None:
        given: Iterator[float] = iter(values)

        def validate(*arguments: Any, **options: Any) -> Evaluation:
            evaluation = judge(*arguments, **options)
            value = next(given, None)
            return evaluation if value is None else with_loss(evaluation, value)

        monkeypatch.setattr("mar_edge.training.loop.validate", validate)

    return give


def test_patience_stops_and_a_restart_does_not_go_on(recipe: Path, tmp_path: Path, losses: Callable[..., None]) -> None:
    losses(1.0, 0.8, 0.6, 0.7, 0.8, 0.9, 1.0)
    console = recorded()
    result = train(recipes.load(recipe, ["trainer.patience=3"]), console)
    said = console.export_text()
    # smoothed: 1, 0.9, 0.8, 0.7, 0.7, 0.8, 0.9
    assert (result.step, result.steps, result.ended, result.finished) == (14, 20, "patience", True)
    assert "validation loss has risen since step 8: 0.800 now, 0.700 then" in said
    assert said.count("validation loss has risen") == 1
    assert checkpoint.load(tmp_path / "run" / "best.safetensors")[2].provenance["step"] == 8
    assert result.judgement is not None and result.report is not None
    ended = "Stopped by trainer.patience after step 14 of 20: the validation loss has not fallen since step 8"
    assert any(line.startswith(ended) and "trainer.steps=10 would let it fall" in line for line in result.lines)
    report = result.report.read_text()
    assert ended in report and "Validation loss has risen since step 8" in report
    state = (tmp_path / "run" / "last.state.pt").stat().st_mtime_ns
    again = train(recipes.load(recipe, ["trainer.patience=3"]), recorded())
    assert again.ended == "patience" and again.step == 14 and again.chosen == tmp_path / "run" / "chosen.safetensors"
    assert (tmp_path / "run" / "last.state.pt").stat().st_mtime_ns == state
    longer = train(recipes.load(recipe, ["trainer.patience=null"]), recorded())
    assert longer.ended == "steps" and longer.step == 20


def test_an_interrupted_run_has_the_patience_of_a_whole_one(
    recipe: Path, tmp_path: Path, losses: Callable[..., None]
) -> None:
    losses(1.0, 0.8, 0.6, 0.7, 0.8, 0.9, 1.0)
    patience = ["trainer.patience=3"]
    first = train(recipes.load(recipe, [*patience, "trainer.max_minutes=0.00001"]), recorded())
    assert first.ended == "time" and not first.finished and first.judgement is None and first.report is None
    assert not (tmp_path / "run" / "chosen.safetensors").exists()
    second = train(recipes.load(recipe, patience), recorded())
    assert (second.step, second.ended) == (14, "patience")


def test_without_validation_the_newest_weights_are_taken(recipe: Path, tmp_path: Path) -> None:
    result = train(recipes.load(recipe, ["data.val=null", "trainer.steps=1"]), recorded())
    assert result.chosen == tmp_path / "run" / "chosen.safetensors" and result.judgement is not None
    info = checkpoint.load(result.chosen)[2]
    assert info.provenance["chosen"]["file"] == "last.safetensors"
    assert any("There are no validation clips, so nothing could be chosen" in line for line in result.lines)
    assert result.report is not None and "Leaks?" not in result.report.read_text()


def test_a_log_has_a_line_a_minute(recipe: Path) -> None:
    """Every look at the clock is 7 s later."""
    now_s = iter(range(0, 10**6, 7))
    console = recorded()
    train(recipes.load(recipe, ["trainer.steps=12", "trainer.validate_steps=4"]), console, clock=lambda: next(now_s))
    lines = [line for line in console.export_text().splitlines() if re.match(r"step \d+/12 ", line)]
    assert 2 < len(lines) < 10
    assert re.fullmatch(r"step 1/12  loss \d\.\d+  top-1 [\d.]+  \d+ clips/s", lines[0])
    assert re.fullmatch(
        r"step \d+/12  about \d:\d\d:\d\d left  loss \S+  top-1 \S+  validation \S+, loss \S+ \(best at step \d+\)  \d+ clips/s",
        lines[-1],
    )


def test_a_terminal_has_a_bar_with_the_validation_and_no_lines(recipe: Path) -> None:
    console = recorded(terminal=True)
    train(recipes.load(recipe, ["trainer.steps=4"]), console)
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "4/4" in drawn and re.search(r"validation \d\.\d+, loss", drawn)
    assert not re.search(r"^step \d+/4", drawn, re.M)


def test_what_takes_long_before_the_first_step_is_told_too() -> None:
    now_s = [0.0]
    console = recorded()
    view = TrainingView(console, quiet=False, clock=lambda: now_s[0])
    with view.drawn():
        for second in range(0, 200, 10):
            now_s[0] = second
            view.preparing("flow", second, 200)
        view.begin(0, 5)
        view.stepped(1, "loss 1")
        now_s[0] += 100
        view.validating(3, 9)
    assert console.export_text().splitlines() == [
        "flow: 60 of 200", "flow: 120 of 200", "flow: 180 of 200", "step 1/5  loss 1", "validating: 3 of 9",
    ]  # fmt: skip
    quiet = recorded()
    other = TrainingView(quiet, quiet=True, clock=lambda: now_s[0])
    with other.drawn():
        now_s[0] += 1000
        other.preparing("flow", 1, 2)
        other.say("nothing")
    assert quiet.export_text() == ""


def test_the_time_left_is_measured_from_the_first_step_on() -> None:
    now_s = [100.0]
    pace = Pace(50, lambda: now_s[0])
    assert pace.left(10) is None and pace.after(10) is None and pace.left(10) is None
    now_s[0] += 8
    assert pace.after(14) == "measured: 2 s per step, about 0:01:12 left"
    now_s[0] += 32
    assert pace.after(15) is None and str(pace.left(20)) == "0:02:00"
