"""What is cheap and sure before a training: the largest class, a regression on optical flow, and probes that are models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mar_edge.bundle import builtin_names
from mar_edge.console import Console
from mar_edge.datasets.clip_reader import open_clips
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.datasets.video_list import read_video_list
from mar_edge.evaluation.evaluation import evaluate, open_model, read_videos
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.model import checkpoint
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.mar import MAR
from mar_edge.reporting import no_progress
from mar_edge.training import recipe as recipes
from mar_edge.training import trainer
from mar_edge.training.baselines.baseline import BASELINES, Baseline, read_baselines, write_baselines
from mar_edge.training.baselines.baselines import run_baselines
from mar_edge.training.baselines.comparison import compare, share_interval95
from mar_edge.training.baselines.flow_histograms import SIZE_PX, flow_histograms
from mar_edge.training.baselines.probe import ProbeModel, Prober
from mar_edge.training.baselines.regression import fit, fold_groups
from mar_edge.training.recipe import Recipe
from mar_edge.training.trainer import train
from mar_edge.training.videos import read_split
from tests.fakes.films import moving_square, write_films
from tests.fakes.recipes import tiny, write
from tests.fakes.tiny_model import INFO, STREAM_INFO, TINY, TINY_STREAM, tiny_stream

pytestmark = pytest.mark.usefixtures("one_process")


def points(classes: int, a_class: int, groups: int, dimensions: int = 6) -> tuple[list[Any], Any, list[str]]:
    """Noisy points about a centre for each class, one answer a clip."""
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(classes), a_class)
    features = 2 * np.eye(classes, dimensions)[target] + 0.5 * rng.normal(size=(len(target), dimensions))
    return [row[None] for row in features], target, [f"g{place % groups}" for place in range(len(target))]


def test_whole_groups_are_left_out_and_classes_are_spread() -> None:
    groups = [f"{place // 4}" for place in range(40)]
    classes = np.arange(40) // 20
    part = fold_groups(groups, classes)
    assert set(part) == {0, 1, 2, 3, 4}
    for group in set(groups):
        assert len({part[place] for place in range(40) if groups[place] == group}) == 1
    assert all(set(classes[part == one]) == {0, 1} for one in range(5))
    assert len(set(fold_groups(["same"] * 10, classes[15:25]))) == 5  # one group only: clips


def test_a_class_of_one_group_is_divided_clip_by_clip() -> None:
    features, classes, _ = points(3, 12, 1)
    groups = ["hand"] * 24 + ["room"] * 12
    assert all(len(set(fold_groups(groups, classes)[classes == label])) == 5 for label in range(3))
    assert fit(features, classes, 3, groups).top1 > 0.8


def test_a_regression_finds_what_is_there_and_says_how_well_it_holds_for_other_groups() -> None:
    features, classes, groups = points(3, 20, 6)
    found = fit(features, classes, 3, groups)
    assert found.top1 > 0.9 and found.loss < 0.5
    scores = np.stack([found.scores(one) for one in features])
    assert (scores.argmax(axis=1) == classes).mean() > 0.9
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    shuffled = fit(features, np.random.default_rng(1).permutation(classes), 3, groups)
    assert shuffled.top1 < 0.6 and shuffled.loss > 1.0 and shuffled.strength > found.strength


def test_what_only_tells_groups_apart_is_seen_through() -> None:
    """Every group has a mark of its own and mostly one class: by heart all is right, for other groups nothing is."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 8)
    marks = [5 * np.eye(10)[one][None] + 0.1 * rng.normal(size=(1, 10)) for one in group]
    found = fit(marks, group % 2, 2, [str(one) for one in group])
    assert found.top1 < 0.7
    assert fit(marks, group % 2, 2, [str(place) for place in range(80)]).top1 == 1


def test_a_constant_feature_and_a_class_without_clips_do_no_harm() -> None:
    features, classes, groups = points(2, 10, 4)
    found = fit([np.concatenate([one, [[7.0]]], axis=1) for one in features], classes, 3, groups)
    assert np.isfinite(found.weight).all() and np.abs(found.weight[:, -1]).max() < 1e-3
    assert all(found.scores(np.append(one, 7.0)[None]).argmax() < 2 for one in (features[0][0], features[-1][0]))


def test_flow_knows_the_direction_and_the_place_of_motion() -> None:
    def described(direction: str) -> Any:
        film = np.stack([np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in moving_square(direction, 1, 10)])
        return flow_histograms(film[:, :SIZE_PX, :SIZE_PX])

    left, right = described("left"), described("right")
    assert left.shape == right.shape and np.isfinite(left).all()
    eight = slice(0, 64)  # in 8 segments of time, 8 directions from right over down
    assert right[eight].reshape(8, 8)[:, 0].mean() > 2 * right[eight].reshape(8, 8)[:, 4].mean()
    assert left[eight].reshape(8, 8)[:, 4].mean() > 2 * left[eight].reshape(8, 8)[:, 0].mean()
    across = right[-16:].reshape(8, 2)[:, 0]
    assert across[-1] > across[0]
    assert not flow_histograms(np.full((2, SIZE_PX, SIZE_PX, 3), 90, np.uint8)).any()


def tiny_window() -> MAR:
    torch.manual_seed(0)
    return build(TINY).eval()


@pytest.mark.parametrize(
    ("model", "config", "info"),
    [(tiny_stream, TINY_STREAM, STREAM_INFO), (tiny_window, TINY, INFO)],
    ids=["stream", "window"],
)
def test_the_checkpoint_answers_as_the_regression(model: Any, config: ModelConfig, info: Any, tmp_path: Path) -> None:
    listing = read_video_list(write_films(tmp_path, 3))
    prober = Prober(ProbeModel(model(), config, info))
    reader, _ = open_clips(listing, **vars(prober.sizing), cache=None)
    features = [prober.features(reader, index) for index in range(len(reader))]
    found = fit(features, np.array([video.label for video in listing.videos]), 2, [str(i) for i in range(6)])
    checkpoint.save(
        tmp_path / "probe.safetensors",
        *prober.with_regression(found),
        info.__class__(**vars(info) | {"labels": ["left", "right"]}),
    )
    probe, its_config, _ = checkpoint.load(tmp_path / "probe.safetensors")
    assert its_config.temporal == config.temporal and its_config.classes == 2
    clips = np.random.default_rng(5).integers(0, 256, (1, *config.geometry.clip_shape), np.uint8)
    graph = DeployedGraph(probe, info.mask_ratio).eval()
    with torch.no_grad():
        given = torch.from_numpy(clips)
        got = graph.every_step(given)[0] if config.temporal == "causal" else graph(given)
    np.testing.assert_allclose(got.numpy(), found.logits(prober.of_clips(given)), atol=1e-4)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("films")
    return write_films(folder / "train", 5), write_films(folder / "val", 3, first_seed=50)


@pytest.fixture
def recipe(tmp_path: Path, films: tuple[Path, Path]) -> Recipe:
    values = tiny(tmp_path, films[0]) | {"baselines": True, "attribution": ["squares"]}
    values["data"]["val"] = str(films[1])
    values["trainer"] |= {"steps": 2}
    return recipes.load(write(tmp_path / "recipe.yaml", values))


def test_baselines_of_real_files_are_kept_and_the_probe_is_a_model(
    recipe: Recipe, films: tuple[Path, Path], tmp_path: Path
) -> None:
    split = read_split(recipe.data, labelled=True)  # type: ignore[arg-type]
    shown: list[str] = []
    found = run_baselines(recipe, split, tmp_path / "out", lambda what, *_: shown.append(what))
    names = [f"probe of {name}" for name in builtin_names()]
    assert [one.name for one in found] == ["majority", "flow", *names]
    assert {"flow", *names} <= set(shown)
    majority, flow, *probes = found
    assert majority.evaluation is not None and majority.evaluation.top1 == 0.5 and majority.held_out_top1 is None
    assert flow.evaluation is not None and flow.evaluation.top1 == 1 and flow.checkpoint is None
    assert "of 6 validation clips" in flow.said and "training clips whose group is left out" in flow.said
    for probe in probes:
        assert probe.checkpoint is not None and probe.evaluation is not None
        info = checkpoint.load(probe.checkpoint)[2]
        assert info.labels == ["left", "right"] and info.provenance["probe"]["layers_of"] == probe.name[9:]
        assert "squares" in info.provenance["data"] and info.provenance["started_from"]["weights"].startswith(
            probe.name[9:]
        )
        assert Fingerprints.from_text(info.provenance[TRAINING_VIDEOS]).count([*films[0].parent.glob("*.mp4")]) == 10
        model = open_model(str(probe.checkpoint))
        judged = evaluate(model, read_videos(films[1], model.labels))
        np.testing.assert_allclose(judged.scores, probe.evaluation.scores, atol=1e-3)
    again = read_baselines(tmp_path / "out" / BASELINES)
    assert [one.said for one in again] == [one.said for one in found]


def test_a_training_begins_with_them_and_says_whether_it_was_worth_it(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mar_edge.training.baselines.baselines.builtin_names", list)  # the flow's is enough here
    result = train(recipe, Console())
    said = capsys.readouterr().err
    assert said.index("baseline majority: 50.0%") < said.index("baseline flow: 100.0%")
    assert result.judgement is not None and result.report is not None
    assert "the regression on optical flow" in " ".join(result.judgement.choice.worth)
    assert "baseline majority" in result.report.read_text() and "Worth a network?" in result.report.read_text()
    written = (tmp_path / "run" / BASELINES).stat().st_mtime_ns
    again = train(recipe, Console())
    assert "baseline flow: 100.0%" in capsys.readouterr().err  # of the first start
    assert (tmp_path / "run" / BASELINES).stat().st_mtime_ns == written and again.judgement is not None
    assert again.judgement.short == result.judgement.short


def test_a_probe_that_was_deleted_is_fitted_again(
    recipe: Recipe, films: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = read_split(recipe.data, labelled=True)  # type: ignore[arg-type]
    probe = Baseline("probe of x", 1.0, None, None, None, 2, (), None, recipe.trainer.out / "probe-x.safetensors")
    made: list[Baseline] = []
    monkeypatch.setattr(trainer, "run_baselines", lambda *_: made)
    write_baselines(recipe.trainer.out / BASELINES, [probe])
    assert trainer._baselines(recipe, split, no_progress, goes_on=True) is made
    (recipe.trainer.out / "probe-x.safetensors").touch()
    assert trainer._baselines(recipe, split, no_progress, goes_on=True) == [probe]
    assert trainer._baselines(recipe, split, no_progress, goes_on=False) is made


def evaluation(right: list[int]) -> Evaluation:
    scores = np.array([[0.2, 0.8] if one else [0.7, 0.3] for one in right], np.float32)
    return Evaluation(
        labels=("a", "b"),
        scores=scores,
        targets=np.ones(len(right), np.int64),
        names=tuple(map(str, range(len(right)))),
    )


def test_a_difference_is_shown_only_if_clips_and_groups_agree() -> None:
    better, worse = evaluation([1] * 40), evaluation([0] * 20 + [1] * 20)
    own = [str(place) for place in range(40)]
    assert compare(better, worse, own).said("It", "that").startswith("It is better than that by 50.0 points (95 %: +")
    assert compare(worse, better, own).said("It", "that").startswith("It is worse than that by 50.0 points")
    said = compare(better, worse, ["a"] * 20 + ["b"] * 20).said("It", "that")
    assert (
        said
        == "It is not shown to be better or worse than that: +50.0 points (95 %: +0.0 to +100.0, 40 clips of 2 groups)"
    )
    with pytest.raises(ValueError, match="same clips"):
        compare(evaluation([1]), worse, own)
    low, high = share_interval95(worse.right, own)
    assert 0.3 < low < 0.42 and 0.58 < high < 0.7


def test_one_group_or_a_handful_of_clips_prove_nothing() -> None:
    """The bootstrap alone has no width here."""
    assert compare(evaluation([1] * 3), evaluation([0] * 3), ["a", "b", "c"]).verdict == "unclear"
    one = compare(evaluation([1] * 12 + [0] * 8), evaluation([1] * 10 + [0] * 10), ["a"] * 20)
    assert one.verdict == "unclear" and one.interval95[0] < 0 < one.interval95[1]
    low, high = share_interval95(evaluation([1] * 20).right, ["a"] * 20)
    assert low < 0.9 and high == 1


def test_scores_of_training_clips_are_of_models_that_never_saw_their_group(recipe: Recipe, tmp_path: Path) -> None:
    split = read_split(recipe.data, labelled=True)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mar_edge.training.baselines.baselines.builtin_names", list)
        majority, flow = run_baselines(recipe, split, tmp_path / "out", lambda *_: None)
    assert majority.held_out is None and flow.held_out is not None
    assert flow.held_out.top1 == flow.held_out_top1 and len(flow.held_out.names) == 10
    again = read_baselines(tmp_path / "out" / BASELINES)[1]
    assert again.held_out is not None and again.held_out.names == flow.held_out.names
    np.testing.assert_allclose(again.held_out.scores, flow.held_out.scores, atol=1e-4)


def test_damaged_results_are_none(tmp_path: Path) -> None:
    assert read_baselines(tmp_path / "none") == []
    (tmp_path / BASELINES).write_text('{"baseline": "flow"}\n')
    assert read_baselines(tmp_path / BASELINES) == []
