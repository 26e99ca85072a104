"""Runs the baselines of a recipe: seconds each, before a network is trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import builtin_names
from mar_edge.datasets.clip_reader import ClipReader, Sizing, open_clips
from mar_edge.datasets.groups import find_groups
from mar_edge.datasets.video_list import VideoList
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.model import checkpoint
from mar_edge.reporting import Progress
from mar_edge.training.baselines.baseline import BASELINES, MOST_SCORES, Baseline, write_baselines
from mar_edge.training.baselines.flow_histograms import SIZE_PX, flow_histograms, sampled_times
from mar_edge.training.baselines.probe import ProbeModel, Prober
from mar_edge.training.baselines.probe_info import probe_info
from mar_edge.training.baselines.regression import Regression, fit
from mar_edge.training.recipe import Recipe
from mar_edge.training.start import load_weights
from mar_edge.training.videos import Split, VideosPart

_Features: TypeAlias = Callable[[ClipReader, int], NDArray[np.floating]]
"""Returns what a regression sees of a video, (answers, features)."""


def run_baselines(
    recipe: Recipe, split: Split, folder: Path, progress: Progress, *, group: str | None = None
) -> list[Baseline]:
    """Judge the largest class, a regression on optical flow, and a probe of every built-in model.

    Probes are written as `probe-MODEL.safetensors`, and all results into `baselines.jsonl`.

    Args:
        recipe: of labelled videos; its `data` says where decoded clips are kept.
        split: from `read_split`, with labels.
        folder: for the results; created if it does not exist.
        progress: called with the current step, the amount done, and the total.
        group: how clips that belong together are found, see `find_groups`.

    Returns:
        The baselines: majority, flow, and the probes by the model's name.

    Raises:
        DataError: if videos cannot be used.
        OptionError: if `group` names no groups.
        OutputError: if results, or decoded clips, cannot be written.
        MissingExtraError: if the library is missing that reads the built-in models' weights.
    """
    assert isinstance(recipe.data, VideosPart)
    bench = _Bench(recipe.data, split, group, progress)
    began_s = time.perf_counter()
    train, val = bench.open(Sizing("stretch", SIZE_PX, SIZE_PX, SIZE_PX))
    majority = _majority(train, val)
    regression, evaluation = bench.regress("flow", _flow, train, val)
    found = [majority, _baseline("flow", began_s, train, val, evaluation, regression)]
    for name in builtin_names():
        began_s = time.perf_counter()
        prober = Prober(ProbeModel(*load_weights(name)))
        train, val = bench.open(prober.sizing)
        regression, evaluation = bench.regress(f"probe of {name}", prober.features, train, val)
        path = folder / f"probe-{name}.safetensors"
        model, config = prober.with_regression(regression)
        said = None if evaluation is None else evaluation.top1
        checkpoint.save(
            path, model, config, probe_info(recipe, name, prober.source.info, train.reader, regression, said)
        )
        found.append(_baseline(f"probe of {name}", began_s, train, val, evaluation, regression, path))
    write_baselines(folder / BASELINES, found)
    return found


@dataclass(frozen=True)
class _Opened:
    """Opened videos (N), with the class and the group of each."""

    reader: ClipReader
    classes: NDArray[np.int64]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class _Bench:
    """What all baselines of a recipe share."""

    data: VideosPart
    split: Split
    group: str | None
    progress: Progress

    def open(self, sizing: Sizing) -> tuple[_Opened, _Opened | None]:
        """Open the training and the validation videos."""
        val = self.split.val
        return self._open(self.split.train, sizing), None if val is None else self._open(val, sizing)

    def _open(self, videos: VideoList, sizing: Sizing) -> _Opened:
        reader, _ = open_clips(
            videos, **vars(sizing), cache=self.data.cache, skip_broken=self.data.skip_broken, progress=self.progress
        )
        classes = np.array([video.label for video in reader.videos.videos], np.int64)
        return _Opened(reader, classes, find_groups(reader.videos, self.group).groups)

    def regress(
        self, name: str, features: _Features, train: _Opened, val: _Opened | None
    ) -> tuple[Regression, Evaluation | None]:
        """Fit a regression to the training videos, and judge it on the others."""
        total = len(train.classes) + (0 if val is None else len(val.classes))

        def of(videos: _Opened, before: int) -> list[NDArray[np.floating]]:
            found = []
            for index in range(len(videos.classes)):
                self.progress(name, before + index, total)
                found.append(features(videos.reader, index))
            return found

        labels = self.split.train.labels
        regression = fit(of(train, 0), train.classes, len(labels), train.groups)
        if val is None:
            return regression, None
        scores = [regression.scores(one) for one in of(val, len(train.classes))]
        return regression, _evaluation(val, np.stack(scores))


def _majority(train: _Opened, val: _Opened | None) -> Baseline:
    """Judge the shares of the classes, which name the largest one every time."""
    began_s = time.perf_counter()
    shares = np.bincount(train.classes, minlength=len(train.reader.videos.labels)) / len(train.classes)
    evaluation = None if val is None else _evaluation(val, np.tile(shares, (len(val.classes), 1)))
    return _baseline("majority", began_s, train, val, evaluation, None)


def _flow(reader: ClipReader, index: int) -> NDArray[np.floating]:
    return flow_histograms(reader.read(index, sampled_times(reader.duration_s(index))))[None]


def _evaluation(opened: _Opened, scores: NDArray[np.float64]) -> Evaluation:
    videos = opened.reader.videos
    names = tuple(video.name for video in videos.videos)
    return Evaluation(labels=videos.labels, scores=scores.astype(np.float32), targets=opened.classes, names=names)


def _baseline(
    name: str,
    began_s: float,
    train: _Opened,
    val: _Opened | None,
    evaluation: Evaluation | None,
    regression: Regression | None,
    path: Path | None = None,
) -> Baseline:
    return Baseline(
        name=name,
        seconds=time.perf_counter() - began_s,
        held_out_top1=None if regression is None else regression.top1,
        held_out_loss=None if regression is None else regression.loss,
        held_out=_evaluation(train, regression.held_out)
        if regression is not None and regression.held_out.size <= MOST_SCORES
        else None,
        clips=len(train.classes),
        groups=() if val is None else val.groups,
        evaluation=evaluation,
        checkpoint=path,
    )
