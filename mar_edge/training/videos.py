"""Clips of the user's videos for training and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from mar_edge.counting import counted_of
from mar_edge.datasets.clip_reader import Broken, ClipReader, Sizing, open_clips
from mar_edge.datasets.clip_sampling import dense_times, dense_views, sampled_frames, uniform_times, uniform_views
from mar_edge.datasets.groups import Grouping
from mar_edge.datasets.leaks import grouping_of
from mar_edge.datasets.video_list import VideoList, hold_out, read_labels, read_video_list
from mar_edge.errors import DataError
from mar_edge.files.yaml_part import Part, refuse
from mar_edge.geometry import Geometry
from mar_edge.model_spec import RateFps
from mar_edge.reporting import Progress, no_progress
from mar_edge.runtime.clips.preprocess import Resize
from mar_edge.training.augmentation.augmentation import Augmentation, AugmentPart
from mar_edge.training.clip_source import Sample
from mar_edge.training.optical_flow import FLOW_CHANNELS, token_flow
from mar_edge.training.synthetic.drawn_figures import FigureClips, FiguresPart, draw_figures

CACHE_MARGIN = 8 / 7
"""Ratio of cached frames to clips, such as 256 px for 224 px crops."""

Paths = Annotated[tuple[Path, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class VideosPart(Part):
    """The user's own videos.

    Attributes:
        train: a CSV (`path,label`), a list (`path label`) or a folder with a folder per class. For pre-training videos need
            no labels, and several sources, including plain folders, are allowed.
        val: the videos for validation and for choosing the best checkpoint.
        hold_out: patterns of names; matching training videos are used for validation (for instance entire recording groups).
            Pre-training leaves them out.
        root: folder that the paths in lists are relative to; by default that of the list.
        labels: class names in order, or a file with one per line; by default found in `train`.
        sampling: `dense`, frames at `rate_fps`; or `uniform`, one frame from each of T equal segments of the video.
        rate_fps: frames per second; with uniform sampling the rate at which a live stream is sampled.
        rate_jitter: training clips are sampled at up to this share faster or slower.
        resize: `center_crop` or `stretch`, see `runtime.clips.preprocess.Resize`.
        cache_px: side (`stretch`) or short side (`center_crop`) of the frames that are kept; by default 8/7 of the clip's.
        figures: drawn figures among the clips.
        repeats: augmented copies of a clip in a batch (repeated augmentation).
        balanced: draw clips with replacement so that all classes are equally frequent.
        skip_broken: leave out videos that cannot be read, naming them, instead of stopping.
        cache: folder for decoded, resized frames; null decodes each time.
        val_views: clips per video that validation averages over; for `clip_answer: peak` as many as cover a video.
    """

    kind: Literal["videos"]
    train: Annotated[Paths, Field(min_length=1)]
    val: Path | None = None
    hold_out: tuple[str, ...] = ()
    root: Path | None = None
    labels: tuple[str, ...] | Path | None = None
    sampling: Literal["dense", "uniform"] = "dense"
    rate_fps: RateFps = 7.5
    rate_jitter: float = Field(default=0.0, ge=0, lt=1)
    resize: Resize = "center_crop"
    cache_px: int | None = Field(default=None, gt=0, le=16384)
    figures: FiguresPart | None = None
    repeats: int = Field(default=1, gt=0, le=1000)
    balanced: bool = False
    skip_broken: bool = False
    cache: Path | None = Path("runs/cache")
    val_views: int = Field(default=2, gt=0, le=1000)

    @model_validator(mode="after")
    def _fits(self) -> VideosPart:
        if self.val is not None and self.hold_out:
            refuse(("hold_out", "give val or hold_out, not both"))
        if self.figures is not None and self.cache is None:
            refuse(("cache", "figures are drawn once, into a cache; set it to a folder"))
        return self


class Split(NamedTuple):
    """The videos of a recipe.

    Attributes:
        train: to train with.
        val: to validate with; None for none.
    """

    train: VideoList
    val: VideoList | None


def read_split(data: VideosPart, *, labelled: bool, progress: Progress = no_progress) -> Split:
    """Read the lists and folders that a recipe names.

    Args:
        data: the recipe's.
        labelled: whether videos have labels; pre-training needs none.
        progress: called while the files of a folder are opened.

    Raises:
        DataError: if a list is missing or cannot be used, there are fewer than two classes, or all videos of one are held out.
    """
    _check_there(path for path in (*data.train, data.val) if path is not None)
    if not labelled:
        videos = _unlabelled(data.train, data.root, progress)
        return Split(hold_out(videos, data.hold_out)[0] if data.hold_out else videos, None)
    if len(data.train) > 1:
        raise DataError(f"data.train names {len(data.train)} sources; training with labels supports one list or folder")
    labels = read_labels(data.labels) if isinstance(data.labels, Path) else data.labels
    train = read_video_list(data.train[0], root=data.root, labels=labels, progress=progress)
    if len(train.labels) < 2:
        raise DataError(f"{train.source} has one class only, '{train.labels[0]}'; add videos of other classes")
    if data.hold_out:
        split = Split(*hold_out(train, data.hold_out))
        held = split.val.videos if split.val is not None else ()
        train.check_kept(split.train, [(video, f"{video.name} is held out by data.hold_out") for video in held])
        return split
    if data.val is None:
        return Split(train, None)
    return Split(train, read_video_list(data.val, root=data.root, labels=train.labels, progress=progress))


def _check_there(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            start = (
                f". Relative paths of a recipe start from the folder in which you give the command, now {Path.cwd()}"
            )
            raise DataError(f"no such file or folder: {path}{'' if path.is_absolute() else start}") from error
        except OSError:
            continue  # whoever reads it says why it cannot


def _unlabelled(sources: Sequence[Path], root: Path | None, progress: Progress) -> VideoList:
    lists = [read_video_list(source, root=root, labelled=False, progress=progress) for source in sources]
    digest = hashlib.sha256(" ".join(videos.digest for videos in lists).encode()).hexdigest()
    return VideoList(
        source=sources[0],
        videos=tuple(video for videos in lists for video in videos.videos),
        labels=(),
        digest=digest,
        left_out=tuple(one for videos in lists for one in videos.left_out),
    )


def _doubts(data: VideosPart, reader: ClipReader) -> list[str]:
    """Return probable mistakes in the videos."""
    doubts = []
    slow = sum(reader.frames(index) < 0.9 * data.rate_fps * reader.duration_s(index) for index in range(len(reader)))
    if slow and data.sampling == "dense":
        doubts.append(
            f"{counted_of(slow, len(reader), 'video', 'has', 'have')} fewer than the {data.rate_fps:g} frames per second of data.rate_fps; "
            "frames are repeated"
        )
    return doubts


class VideoClips:
    """Training and validation clips of a list of videos.

    Args:
        videos: the list.
        reader: its opened videos.
        data: how clips are sampled.
        geometry: of the clips.
        augmentation: their augmentation.
        flow: whether to return the optical flow of every clip.
        held_s: for how long the last picture of a video is held after its end in validation, seconds.
    """

    def __init__(
        self,
        videos: VideoList,
        reader: ClipReader,
        data: VideosPart,
        *,
        geometry: Geometry,
        augmentation: Augmentation,
        flow: bool = False,
        held_s: float = 0.0,
    ) -> None:
        self.labels = videos.labels
        self.flow_channels = FLOW_CHANNELS
        self.classes = np.array([video.label for video in videos.videos], np.int64)
        self.digest = reader.digest
        self._videos, self._reader, self._data = videos, reader, data
        self._geometry, self._augmentation, self._flow = geometry, augmentation, flow
        self._held_s = held_s

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a random, augmented clip of a video."""
        data, frames, duration_s = self._data, self._geometry.frames, self._reader.duration_s(index)
        if data.sampling == "uniform":
            times_s = uniform_times(duration_s, frames, rng)
        else:
            rate_fps = data.rate_fps * rng.uniform(1 - data.rate_jitter, 1 + data.rate_jitter)
            times_s = dense_times(duration_s, frames, rate_fps, rng)
        clip, label = self._augmentation(self._reader.read(index, times_s), int(self.classes[index]), rng)
        flow = token_flow(clip, self._geometry) if self._flow else None
        return Sample(clip, label, flow, self._videos.videos[index].name)

    def views(self, index: int) -> NDArray[np.uint8]:
        """Return the validation clips of a video, uint8 (views, T, H, W, 3), spread evenly, not augmented."""
        data, frames, duration_s = self._data, self._geometry.frames, self._reader.duration_s(index)
        if data.sampling == "uniform":
            views = uniform_views(duration_s, frames, data.val_views)
        else:
            views = dense_views(duration_s + self._held_s, frames, data.rate_fps, data.val_views)
        return np.stack([self._augmentation.plain(self._reader.read(index, times_s)) for times_s in views])

    def repeated_frames(self) -> NDArray[np.int64]:
        """Return how often the last frame of every video is repeated at the end of a clip, (N,); 0 with uniform sampling."""
        if self._data.sampling == "uniform":
            return np.zeros(len(self.classes), np.int64)
        durations_s = [self._reader.duration_s(index) for index in range(len(self.classes))]
        found = [sampled_frames(duration_s, self._data.rate_fps) for duration_s in durations_s]
        return np.array([max(0, self._geometry.frames - one) for one in found], np.int64)

    @cached_property
    def grouping(self) -> Grouping:
        """Which videos belong together."""
        return grouping_of(self._videos)

    @property
    def paths(self) -> list[Path]:
        """The videos."""
        return [video.path for video in self._videos.videos]

    def name(self, index: int) -> str:
        """Return a video's name as in its list."""
        return self._videos.videos[index].name


class Opened(NamedTuple):
    """Opened videos of a recipe.

    Attributes:
        train: to train with.
        figures: drawn clips to train with too; None for none.
        val: to validate with; None for none.
        broken: videos left out.
        warnings: what the user should know.
    """

    train: VideoClips
    figures: FigureClips | None
    val: VideoClips | None
    broken: list[Broken]
    warnings: list[str]


def sizings(data: VideosPart, split: Split, geometry: Geometry) -> list[tuple[VideoList, Sizing]]:
    """Return the lists of a recipe, training first, and how their frames are resized before they are kept."""
    smaller_px = min(geometry.height_px, geometry.width_px)
    # validation uses the pictures of the runtime: resized once
    sides = [(split.train, data.cache_px or round(CACHE_MARGIN * smaller_px)), (split.val, smaller_px)]
    return [
        (videos, Sizing(data.resize, side_px, round(side_px * geometry.width_px / geometry.height_px), side_px))
        for videos, side_px in sides
        if videos is not None
    ]


def open_videos(
    data: VideosPart,
    split: Split,
    *,
    geometry: Geometry,
    augment: AugmentPart,
    flow: bool,
    held_s: float = 0.0,
    progress: Progress,
) -> Opened:
    """Open the videos of a recipe; with a cache, decode those that are not in it yet.

    Args:
        data: the recipe's.
        split: from `read_split`.
        geometry: of the clips.
        augment: the recipe's augmentation.
        flow: whether training needs optical flow.
        held_s: see `VideoClips`.
        progress: called with the current step.

    Raises:
        DataError: if videos are broken and `skip_broken` is off.
        OutputError: if the cache cannot be written.
    """
    size = {"height_px": geometry.height_px, "width_px": geometry.width_px}
    augmentation = Augmentation(augment, **size, labels=split.train.labels, resize=data.resize)
    broken: list[Broken] = []

    lists = split.train, split.val
    remarks = [remark for videos in lists if videos is not None for remark in videos.remarks]
    warnings = [*augmentation.warnings, *dict.fromkeys(remarks)]

    def opened(videos: VideoList, sizing: Sizing) -> tuple[VideoClips, ClipReader]:
        reader, left_out = open_clips(
            videos,
            **vars(sizing),
            cache=data.cache,
            skip_broken=data.skip_broken,
            progress=progress,
        )
        broken.extend(left_out)
        warnings.extend(reader.warnings)
        clips = VideoClips(
            reader.videos, reader, data, geometry=geometry, augmentation=augmentation, flow=flow, held_s=held_s
        )
        return clips, reader

    (train, reader), *held = [opened(videos, sizing) for videos, sizing in sizings(data, split, geometry)]
    val = held[0][0] if held else None
    warnings += _doubts(data, reader)
    figures = None
    if data.figures is not None and data.cache is not None:
        store = draw_figures(
            data.figures, reader, labels=train.labels, geometry=geometry, rate_fps=data.rate_fps, cache=data.cache,
            progress=progress,
        )  # fmt: skip
        figures = FigureClips(store, train.labels, geometry=geometry, augmentation=augmentation, flow=flow)
    return Opened(train, figures, val, broken, warnings)
