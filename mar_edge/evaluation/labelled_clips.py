"""Opens clips, with their classes if the data has labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.datasets.label_likeness import likeness
from mar_edge.evaluation.evaluation import NAMED, read_videos
from mar_edge.model_spec import ModelSpec
from mar_edge.reporting import Progress, Warn, no_progress, no_warning
from mar_edge.runtime.measurement.clip_set import ClipSet, find_videos, open_clips
from mar_edge.runtime.video.listing import is_named_video, why_no_video

HELD_OUT_EVERY = 4
"""One of this many videos is held out."""

FEWEST_TO_SPLIT = 8
"""With fewer videos none is held out: too few would remain for calibration, and a single one shows little."""


@dataclass(frozen=True)
class LabelledVideos:
    """Videos that clips are taken from.

    Attributes:
        spec: of the model that they are for.
        data: path given by the user; None for the demo camera.
        files: the videos; empty for the demo camera.
        targets: class of each; None without labels.
        note: additional remark about them for messages.
    """

    spec: ModelSpec
    data: Path | None
    files: tuple[Path, ...]
    targets: tuple[int, ...] | None
    note: str = ""

    def clips(self, count: int, *, warn: Warn = no_warning, strict: bool = False) -> ClipSet:
        """Choose clips; their `source` states how many of the videos the model was trained on, if that is known.

        Args:
            count: clips wanted, see `open_clips`.
            warn: see `ClipSet`.
            strict: see `ClipSet`.

        Raises:
            SourceError: if a video cannot be read.
        """
        chosen = open_clips(
            self.spec, self.data, count=count, files=self.files, targets=self.targets, warn=warn, strict=strict
        )
        trained = _trained_on(self.spec, chosen.files)
        return replace(chosen, source=f"{chosen.source}{self.note}{trained}")

    def split(self) -> tuple[LabelledVideos, LabelledVideos] | None:
        """Return all but every `HELD_OUT_EVERY`th video, and the held-out ones; None if there are too few."""
        if len(self.files) < FEWEST_TO_SPLIT:
            return None
        held = range(HELD_OUT_EVERY - 1, len(self.files), HELD_OUT_EVERY)
        rest = [place for place in range(len(self.files)) if place not in held]
        return self._part(rest), replace(self._part(held), note=f"{self.note}, held out from calibration")

    def _part(self, places: range | list[int]) -> LabelledVideos:
        targets = None if self.targets is None else tuple(self.targets[place] for place in places)
        return replace(self, files=tuple(self.files[place] for place in places), targets=targets)


def find_labelled_videos(
    spec: ModelSpec, data: Path | None, *, warn: Warn = no_warning, progress: Progress = no_progress
) -> LabelledVideos:
    """Find videos, with classes if the data has labels.

    Args:
        spec: of the model that they are for.
        data: a video; a folder of videos; a folder with a subfolder for each class; or a list with the columns path
            and label (see `video_list`). None for the demo camera.
        warn: called with what is left out of a folder, with labels that look like mistakes, and for a folder
            whose subfolders of videos have no name of a class.
        progress: called while the files of a folder are opened.

    Raises:
        SourceError: if there is no video.
        DataError: if a list cannot be read, or has a label that the model does not know.
    """
    if data is None:
        return LabelledVideos(spec, None, (), None)
    if _has_labels(data, spec.labels):
        videos = read_videos(data, spec.labels, progress=progress)
        for message in videos.remarks:
            warn(message)
        files = tuple(video.path for video in videos.videos)
        return LabelledVideos(spec, data, files, tuple(video.label for video in videos.videos))
    found = find_videos(data, warn=warn, progress=progress)
    if remark := _no_labels(data, found, spec):
        warn(remark)
    return LabelledVideos(spec, data, found, None)


def open_labelled_clips(
    spec: ModelSpec,
    data: Path | None,
    *,
    count: int,
    warn: Warn = no_warning,
    strict: bool = False,
    progress: Progress = no_progress,
) -> ClipSet:
    """Choose clips, with classes if the data has labels; see `find_labelled_videos` and `LabelledVideos.clips`.

    Raises:
        SourceError: if there is no video, or one cannot be read.
        DataError: if a list cannot be read, or has a label that the model does not know.
    """
    return find_labelled_videos(spec, data, warn=warn, progress=progress).clips(count, warn=warn, strict=strict)


def _trained_on(spec: ModelSpec, files: tuple[Path, ...]) -> str:
    """Return how many of the files the model was trained on; empty if none or unknown."""
    known = Fingerprints.from_text(spec.provenance.get(TRAINING_VIDEOS)).count(files)
    if not known:
        return ""
    if known < len(files):
        return f", {known} of them training videos"
    return ", training videos of the model" if known > 1 else ", a training video of the model"


def _no_labels(data: Path, videos: tuple[Path, ...], spec: ModelSpec) -> str | None:
    """Return a notice about subfolders with videos, as they may have been meant as classes."""
    if data.is_file():
        return None
    found = sorted({path.relative_to(data).parts[0] for path in videos if path.parent != data})
    if not found:
        return None
    told = ", ".join(found[:NAMED]) + (f" and {len(found) - NAMED} more" if found[NAMED:] else "")
    one = len(found) == 1
    return (
        f"{data}: the folder{'' if one else 's'} {told} {'is not a label' if one else 'are not labels'} of {spec.name}; "
        f"{'its' if one else 'their'} clips count as unlabelled"
    )


def _has_labels(data: Path, labels: list[str]) -> bool:
    """Return whether data has labels: a list, or a folder with one that is, or looks like, a label of the model."""
    if data.is_dir():
        known = {likeness(label) for label in labels}
        return any(likeness(path.name) in known for path in data.iterdir() if path.is_dir())
    return data.is_file() and not is_named_video(data) and why_no_video(data) is not None
