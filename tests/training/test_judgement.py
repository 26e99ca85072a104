"""What a training makes of its validation clips: which weights are kept and used, when it stops, and what is said of it."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mar_edge.datasets.groups import Grouping
from mar_edge.datasets.leaks import find_leaks, grouping_of
from mar_edge.datasets.video_list import read_video_list
from mar_edge.errors import RecipeError
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.training import recipe as recipes
from mar_edge.training.baselines.baseline import Baseline
from mar_edge.training.judgement.choice import TUNED, Candidate, Choice, choose, write_chosen
from mar_edge.training.judgement.judgement import judge_detection, judge_fit, judge_groups, recognised
from mar_edge.training.judgement.looks import Looks
from mar_edge.training.judgement.next_commands import Trained, next_commands
from mar_edge.training.judgement.suspects import Suspect, find_suspects
from mar_edge.training.videos import VideosPart
from tests.fakes.films import moving_square, write_film
from tests.fakes.recipes import films, tiny, write
from tests.fakes.tiny_model import INFO, TINY


def looks(*losses: float) -> Looks:
    return Looks.of(
        [
            {"step": 10 * place, "loss": 1.0} | {"val_loss": loss, "val_top1": 0.5}
            for place, loss in enumerate(losses, 1)
        ]
    )


def test_a_lucky_look_is_not_the_best_and_a_rise_is_told() -> None:
    lucky = looks(1.0, 0.9, 0.3, 0.9, 0.85, 0.8)
    assert lucky.best is not None and lucky.best.step == 50 and lucky.risen is None
    over = looks(1.0, 0.6, 0.5, 0.55, 0.7, 0.9)
    assert over.best is not None and over.best.step == 40 and over.since_best == 2
    assert over.risen == "validation loss has risen since step 40: 0.700 now, 0.550 then"
    assert looks(1.0, 0.6, 0.5, 0.55, 0.7).risen is None
    assert looks().best is None and looks().since_best == 0
    none = looks(math.nan, math.nan)
    assert none.best is None and none.since_best == 2 and none.risen is None
    # rows of training steps alone are no looks
    assert Looks.of([{"step": 1, "loss": 2.0}]).all == ()


def evaluation(right: list[int], groups: list[str] | None = None, *, scores: Any = None) -> Evaluation:
    count = len(right)
    made = np.array([[0.2, 0.8] if one else [0.7, 0.3] for one in right], np.float32) if scores is None else scores
    grouping = None if groups is None else Grouping("scene", "names", "Groups: some.", tuple(groups))
    return Evaluation(
        labels=("a", "b"),
        scores=made,
        targets=np.ones(count, np.int64),
        names=tuple(map(str, range(count))),
        grouping=grouping,
    )


def baseline(
    name: str, judged: Evaluation | None, path: Path | None = None, held_out: Evaluation | None = None
) -> Baseline:
    groups = () if judged is None else judged.names
    return Baseline(name, 1.0, None, None, held_out, 5, groups, judged, path)


def picked(tuned: list[int], probe: list[int], flow: list[int], folder: Path) -> Choice:
    path = folder / "probe-x.safetensors"
    path.write_bytes(b"")
    some = [baseline("majority", evaluation([0] * len(tuned))), baseline("flow", evaluation(flow))]
    return choose(
        Candidate(TUNED, evaluation(tuned), folder / "best.safetensors"),
        [*some, baseline("probe of x", evaluation(probe), path)],
    )


def test_fine_tuning_is_taken_if_it_beats_the_best_probe_beyond_doubt(tmp_path: Path) -> None:
    half = [1, 0] * 20
    choice = picked([1] * 40, half, half, tmp_path)
    assert choice.chosen.name == TUNED and not choice.curves_of
    assert choice.why[0].startswith("Fine-tuning recognises 100.0% of 40 validation clips (95 %: 91.2% to 100.0%)")
    assert choice.why[1].startswith("Fine-tuning is better than the probe of x by 50.0 points (95 %: +")
    assert [one.split(" by ")[0] for one in choice.worth] == [
        "Fine-tuning is better than always naming the largest class",
        "Fine-tuning is better than the regression on optical flow",
    ]


def test_otherwise_the_probe_is_taken_and_that_is_said(tmp_path: Path) -> None:
    half = [1, 0] * 20
    choice = picked([1, *half[1:-1], 1], half, half, tmp_path)  # one more clip
    assert choice.chosen.name == "probe of x" and choice.chosen.checkpoint == tmp_path / "probe-x.safetensors"
    assert "Fine-tuning is not shown to be better or worse than the probe of x: +2.5 points" in choice.why[1]
    assert choice.why[1].endswith("so the probe is taken, which is cheaper and surer")
    assert choice.curves_of.endswith("All other figures are of the probe of x, which was chosen.")
    assert choice.worth[-1].startswith("So a network is not shown to be worth it: flow needs none. More groups")
    nothing = picked([0] * 40, [0] * 40, [0] * 40, tmp_path)
    assert nothing.worth[-1].startswith("So nothing was learned that these clips can show. More groups")
    (tmp_path / "probe-x.safetensors").unlink()  # what is gone cannot be used
    again = choose(
        Candidate(TUNED, evaluation(half), tmp_path / "best.safetensors"),
        [baseline("probe of x", evaluation([1] * 40), tmp_path / "probe-x.safetensors")],
    )
    assert again.chosen.name == TUNED


def test_what_cannot_be_compared_is_not(tmp_path: Path) -> None:
    tuned = Candidate(TUNED, evaluation([1, 1, 0]), tmp_path)
    assert "judged on other clips" in choose(tuned, [baseline("flow", evaluation([1, 0]))]).why[1]
    alone = choose(tuned, [])
    assert alone.chosen == tuned and len(alone.why) == 1 and not alone.worth
    blind = choose(Candidate(TUNED, None, tmp_path), [baseline("flow", None)])
    assert blind.why == ("There are no validation clips, so nothing could be chosen: these are the newest weights",)
    assert not blind.worth


def test_the_chosen_file_says_where_it_comes_from(tmp_path: Path) -> None:
    source = tmp_path / "best.safetensors"
    checkpoint.save(source, build(TINY), TINY, INFO)
    write_chosen(tmp_path / "chosen.safetensors", choose(Candidate(TUNED, evaluation([1]), source), []), source)
    chosen, config, info = checkpoint.load(tmp_path / "chosen.safetensors")
    assert config == TINY and info.labels == INFO.labels
    assert info.provenance["chosen"]["file"] == "best.safetensors" and info.provenance["chosen"]["of"] == TUNED
    assert "Fine-tuning recognises" in info.provenance["chosen"]["why"][0]
    theirs = checkpoint.load(source)[0].state_dict()
    assert all(bool((tensor == theirs[name]).all()) for name, tensor in chosen.state_dict().items())


def test_over_fitting_is_told_from_training_against_validation() -> None:
    over = looks(1.0, 0.5, 0.6, 0.7, 0.8, 0.9)
    said = judge_fit(over, 0.99)
    assert said[0].startswith(
        "Over-fitted: at the end fine-tuning recognised 99% of its training clips, as augmented, and 50% of"
    )
    assert "risen since step 20" in said[1] or "risen since step 30" in said[1]
    assert judge_fit(over, 0.55) == (f"V{over.risen[1:]} (the middle one of three validations each)",)  # type: ignore[index]
    falling = looks(1.0, 0.8, 0.6)
    assert judge_fit(falling, 0.9)[0].startswith("It knows its training clips better than others")
    assert judge_fit(falling, 0.3)[0].startswith("Under-fitted")
    assert "more steps may help" in judge_fit(falling, 0.55)[0]
    assert judge_fit(looks(), 0.5) == () and judge_fit(falling, None) == ()
    rows = [{"step": place, "top1": place / 400} for place in range(400)] + [{"step": 400, "val_loss": 1.0}]
    assert recognised(rows) == pytest.approx(0.94875) and recognised([{"loss": 1.0}]) is None


def test_too_few_groups_are_told() -> None:
    few = judge_groups(evaluation([1, 1, 1, 0] * 5, ["a", "b", "c", "d"] * 5))
    assert few[0].startswith(
        "No: the 95 % interval of top-1 is 75 points wide, 25% to 100%, from 20 validation clips of 4 groups"
    )
    assert "10 groups or more" in few[1] and few[2] == "Groups: some"
    alike = judge_groups(evaluation([1] * 40, ["a", "b"] * 20))  # what a third group does is not known
    assert alike[0].startswith("Perhaps: ") and "of 2 groups" in alike[0] and "10 groups or more" in alike[1]
    one = judge_groups(evaluation([1] * 40, ["room1"] * 40))  # however narrow the interval is
    assert one[0].startswith("No: all 40 validation clips are of one group (room1), so they cannot tell")
    many = judge_groups(evaluation([1] * 900 + [0] * 100, [str(place // 5) for place in range(1000)]))
    assert many[0].startswith("Yes: ") and len(many) == 2


def test_a_wrong_label_is_found_and_a_hard_clip_is_not_accused() -> None:
    scores = np.array([[0.97, 0.03], [0.5, 0.5], [0.1, 0.9], [0.6, 0.4]], np.float32)
    judged = evaluation([0] * 4, scores=scores)
    better, worse = evaluation([1, 0, 1, 1], scores=scores[::-1]), evaluation([0] * 4, scores=scores[:, ::-1])
    found = find_suspects("probe of x", judged, [baseline("flow", None, held_out=judged)])
    assert [(one.name, one.part, one.looks_like, one.judge) for one in found] == [
        ("0", "validation", "a", "probe of x"), ("0", "training", "a", "flow"),
    ]  # fmt: skip
    # training clips are judged by the baseline of the least loss
    some = [baseline("flow", None, held_out=better), baseline("probe of y", None, held_out=worse)]
    assert {one.judge for one in find_suspects("x", None, some)} <= {"probe of y"}
    assert find_suspects("x", None, [baseline("majority", None)]) == []


def test_a_suspect_can_be_opened_from_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("clips/a", "runs/x/lists", "elsewhere"):
        Path(place).mkdir(parents=True)
    Path("clips/a/1.mp4").touch()
    values = tiny(tmp_path, Path("runs/x/lists/train.csv"))
    values["data"]["val"] = "clips"
    data = recipes.load(write(tmp_path / "recipe.yaml", values)).data
    assert isinstance(data, VideosPart)
    listed = Suspect("../../../clips/a/1.mp4", "training", "a", "b", 0.9, "flow")
    assert listed.findable(data).name == "clips/a/1.mp4"
    assert replace(listed, name="a/1.mp4", part="validation").findable(data).name == "clips/a/1.mp4"
    gone = replace(listed, name="a/2.mp4", part="validation").findable(data)
    assert gone.name == "clips/a/2.mp4"


def test_copies_and_groups_in_both_lists_are_leaks(tmp_path: Path) -> None:
    for name in ("train/left/p1_a.mp4", "train/right/p2_a.mp4", "val/left/p3_a.mp4", "val/right/p4_a.mp4"):
        write_film(tmp_path / name, moving_square(Path(name).parent.name, hash(name) % 100))
    lists = [read_video_list(tmp_path / part) for part in ("train", "val")]
    assert find_leaks(*lists) == []
    (tmp_path / "val/left/p5_a.mp4").write_bytes((tmp_path / "train/left/p1_a.mp4").read_bytes())
    (copied,) = find_leaks(lists[0], read_video_list(tmp_path / "val"))
    assert copied == "1 video is in both train and val, so validation is too optimistic: left/p5_a.mp4"
    for part, person in (("train", "anna"), ("val", "anna")):
        rows = [
            f"{part}/left/{name},left,{person}"
            for name in sorted(path.name for path in (tmp_path / part / "left").iterdir())
        ]
        rows += [f"{part}/right/{next((tmp_path / part / 'right').iterdir()).name},right,{part}"]
        (tmp_path / f"{part}.csv").write_text("\n".join(["path,label,person", *rows]) + "\n")
    lists = [read_video_list(tmp_path / f"{part}.csv") for part in ("train", "val")]
    said = find_leaks(*lists)
    assert (
        len(said) == 2
        and "2 clips are of groups that the training list has too (1 group, anna, by the column 'person')" in said[1]
    )
    (tmp_path / "gap.csv").write_text("path,label,group\ntrain/left/p1_a.mp4,left,\ntrain/right/p2_a.mp4,right,x\n")
    gap = read_video_list(tmp_path / "gap.csv")
    assert "no value in the column 'group'" in find_leaks(gap, gap)[-1]
    assert grouping_of(gap).independent and "no value in the column" in grouping_of(gap).said


def test_a_detector_is_judged_for_two_classes_or_an_idle_one(tmp_path: Path) -> None:
    two = recipes.load(write(tmp_path / "two.yaml", tiny(tmp_path, tmp_path / "list.csv")))
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], np.float32)
    judged = Evaluation(labels=("a", "b"), scores=scores, targets=np.array([0, 1, 1]), names=("x", "y", "z"))
    found = judge_detection(two, judged)
    assert found is not None and {one.label for one in found.detectors} == {"a", "b"} and found.false_alarms == 0.05
    one_class = Evaluation(labels=("a", "b"), scores=scores, targets=np.array([1, 1, 1]), names=("x", "y", "z"))
    lacking = judge_detection(two, one_class)
    assert lacking is not None and not lacking.detectors and lacking.false_alarms is None
    three = Evaluation(
        labels=("a", "b", "c"),
        scores=np.pad(scores, ((0, 0), (0, 1))),
        targets=np.array([0, 1, 1]),
        names=("x", "y", "z"),
    )
    assert judge_detection(two, three) is None
    assert judge_detection(two.model_copy(update={"idle_label": "c"}), three) is not None


def test_commands_have_the_paths_of_the_recipe(tmp_path: Path) -> None:
    values = tiny(tmp_path, Path("my clips/train.csv")) | {"name": "left / right"}
    values["data"]["val"] = "my clips/val.csv"
    values["trainer"]["out"] = "runs/a b"
    recipe = recipes.load(write(tmp_path / "recipe.yaml", values))
    weights = Path("runs/a b/chosen.safetensors")
    lines = [shlex.split(one.line) for one in next_commands(Trained.by(recipe, weights), detects=True)]
    bundle = "runs/a b/left_right.mar"
    assert lines[0] == [
        "mar-edge", "export", str(weights), "-o", bundle, "--precision", "fp32", "--precision", "int8",
        "--calibrate", "my clips/train.csv", "--data", "my clips/val.csv",
    ]  # fmt: skip
    assert lines[1] == [
        "mar-edge",
        "evaluate",
        bundle,
        "--data",
        "my clips/val.csv",
        "--false-alarms",
        "0.05",
        "--set-onset",
    ]
    assert lines[2] == [
        "mar-edge",
        "evaluate",
        bundle,
        "--data",
        "my clips/val.csv",
        "--report",
        "runs/a b/left_right.html",
    ]
    assert lines[3] == ["mar-edge", "run", "--model", bundle, "--camera", "0"]
    values["data"] |= {"root": "elsewhere"}
    rooted = recipes.load(write(tmp_path / "root.yaml", values))
    lines = [shlex.split(one.line) for one in next_commands(Trained.by(rooted, weights), detects=False)]
    assert (
        lines[0][-2:] == ["--calibrate", "elsewhere"] and lines[1][-4:-2] == ["--root", "elsewhere"] and len(lines) == 3
    )
    drawn = recipes.load(write(tmp_path / "films.yaml", films()))
    assert "--calibrate" not in next_commands(Trained.by(drawn, weights), detects=False)[0].line


def test_a_test_list_beside_the_validation_list_judges(tmp_path: Path) -> None:
    val, test = tmp_path / "val.csv", tmp_path / "test.csv"
    values = tiny(tmp_path, tmp_path / "train.csv")
    for chosen_by, judged_by in ((val, test), (test, test)):
        values["data"]["val"] = str(chosen_by)
        recipe = recipes.load(write(tmp_path / "recipe.yaml", values))
        alone = next_commands(Trained.by(recipe, Path("w")), detects=False)[1]
        assert "give a test list" in alone.does and f"--data {chosen_by} " in alone.line
        test.write_text("path,label\n")
        does, line = next_commands(Trained.by(recipe, Path("w")), detects=False)[1]
        assert f"--data {judged_by} " in line and ("chose nothing" in does)
        # a test list that chose the weights has flattered itself already
        assert ("give a test list" in does) == (chosen_by == test)
        test.unlink()


def test_paths_with_dashes_and_dots_are_not_misread() -> None:
    trained = Trained("-1.2", Path("-v1.2"), Path("-v1.2/chosen.safetensors"), Path("-l/train.csv"), None, None)
    line = next_commands(trained, detects=True)[0].line
    assert line.startswith("mar-edge export ./-v1.2/chosen.safetensors -o ./-v1.2/1.2.mar ")
    assert line.endswith("--calibrate ./-l/train.csv")


def test_patience_needs_validation_clips(tmp_path: Path) -> None:
    values = tiny(tmp_path, tmp_path / "list.csv")
    values["trainer"]["patience"] = 3
    with pytest.raises(
        RecipeError, match=r"trainer\.patience: needs validation clips; set data\.val or data\.hold_out"
    ):
        recipes.load(write(tmp_path / "recipe.yaml", values))
    with pytest.raises(RecipeError, match=r"trainer\.patience: needs validation, which this training does not have"):
        recipes.load(
            write(tmp_path / "films.yaml", films(trainer={"steps": 6, "batch": 8, "out": "run", "patience": 2}))
        )
    with pytest.raises(RecipeError, match="expected a number above 0"):
        recipes.load(tmp_path / "recipe.yaml", ["trainer.patience=0", "data.hold_out=['a*']"])


def test_a_probe_that_learned_nothing_is_not_taken_for_the_surer_one(tmp_path: Path) -> None:
    path = tmp_path / "probe-x.safetensors"
    path.write_bytes(b"")
    judged = {"majority": [1, 0, 0, 0, 0, 0, 0, 0], "probe of x": [0, 1, 0, 0, 0, 0, 0, 0]}
    some = [baseline(name, evaluation(right), path if "probe" in name else None) for name, right in judged.items()]
    tuned = Candidate(TUNED, evaluation([1, 1, 0, 0, 1, 0, 0, 0]), tmp_path / "best.safetensors")
    choice = choose(tuned, some)
    assert choice.chosen.name == TUNED
    assert "no better than always naming the largest class, so fine-tuning is taken" in " ".join(choice.why)
    nothing = Candidate(TUNED, evaluation([0, 0, 0, 0, 1, 0, 0, 0]), tmp_path / "best.safetensors")
    assert choose(nothing, some).chosen.name == "probe of x"
