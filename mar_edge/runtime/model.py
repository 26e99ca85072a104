"""A model to use: a bundle, the graph chosen from it, and the engine that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle, Manifest, Variant, open_bundle
from mar_edge.errors import FrameError, OptionError
from mar_edge.runtime.clips.preprocess import preprocess
from mar_edge.runtime.clips.sampler import Sampler
from mar_edge.runtime.clips.segments import segment_times, segment_views
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.measurement.choice import choose
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.source import Source
from mar_edge.runtime.streams.results import ClipResult, Event, Prediction
from mar_edge.runtime.streams.session import Session
from mar_edge.runtime.streams.smoothing import softmax
from mar_edge.runtime.video.reader import read_frames
from mar_edge.runtime.video.seek import probe, read_frames_at


class Model:
    """A loaded model.

    Args:
        bundle: a checked bundle.
        engine: a loaded graph of it.
        reason: why this engine and graph, for people.
    """

    def __init__(self, bundle: Bundle, engine: Engine, reason: str = "as asked") -> None:
        self.bundle = bundle
        self.engine = engine
        self.reason = reason

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the scores."""
        return self.manifest.labels

    @property
    def variant(self) -> Variant:
        """The graph in use."""
        return self.engine.variant

    def session(self, **options: Any) -> Session:
        """Return a session for a loop of your own.

        Args:
            **options: those of `Session`: stream, hop, smoothing_s, rule.
        """
        return Session(self.engine, **options)

    def stream(
        self,
        source: str | int | Path | Source,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Iterator[Prediction]:
        """Recognise a source until it ends.

        Args:
            source: camera index, file path, `"demo"`, or a source object.
            on_event: called with every event, also with the one that the end of the stream cuts off.
            on_warning: called with whatever an operator should know.
            **options: those of `Session`.

        Yields:
            Predictions in order of time.

        Raises:
            SourceError: if the source cannot be opened or read.
        """
        opened = open_source(source)
        session = self.session(**{"stream": opened.name, **options})

        def tell(events: tuple[Event, ...]) -> None:
            if on_event is not None:
                for event in events:
                    on_event(event)
            for warnings in (opened.warnings, session.warnings):
                if on_warning is not None:
                    for message in warnings:
                        on_warning(message)
                warnings.clear()

        try:
            with opened:
                for frame in opened:
                    result = session.push(frame.picture, frame.time_s, color=frame.color, arrived_s=frame.arrived_s)
                    tell(result.events if result else ())
                    if result:
                        yield result
        finally:
            tell(session.finish())

    def classify(self, clip: str | Path | NDArray[np.uint8], *, views: tuple[int, int] | None = None) -> ClipResult:
        """Classify a whole clip.

        Args:
            clip: a video file; or its frames at the model's rate, uint8 (N, H, W, 3) RGB.
            views: (clips, crops) to average as in multi-view evaluation: windows spread evenly over the clip, and
                1 or 3 crops along the longer side. By default all windows that fit side by side, one crop; for a model
                that samples uniformly one window, whose frames are spread over the whole clip.

        Raises:
            SourceError: if the file cannot be read.
            FrameError: if the frames are not pictures.
            OptionError: if such views cannot be made.
        """
        self.check_views(views)
        count, crops = views or (None, 1)
        if self.manifest.sampling == "uniform":
            return self._classify_spread(clip, count or 1, crops)
        warnings: list[str] = []
        logits: list[NDArray[np.float32]] = []
        kept: list[NDArray[np.uint8]] = []  # frames (crops, H, W, 3) of the longest unbroken stretch
        stretch: list[NDArray[np.uint8]] = []
        window = self.manifest.geometry.frames
        duration_s = 0.0
        for frames, time_s, broken in self._sampled(clip, crops, warnings):
            duration_s = time_s
            if broken:
                stretch = []
            stretch.extend(frames)
            while count is None and len(stretch) >= window:  # nothing but one window is held
                logits.extend(self._infer_views(stretch[:window]))
                stretch = stretch[window:]
            if len(stretch) > len(kept):
                kept = stretch
        repeated = 0
        if not logits:
            repeated = max(0, window - len(kept))
            kept = kept + kept[-1:] * repeated
            for start in np.linspace(0, len(kept) - window, count or 1).round().astype(int):
                logits.extend(self._infer_views(kept[start : start + window]))
        return self._result(clip, logits, duration_s, repeated, warnings)

    def _classify_spread(self, clip: str | Path | NDArray[np.uint8], count: int, crops: int) -> ClipResult:
        """Classify windows that each reach over the whole clip, one frame a segment."""
        window = self.manifest.geometry.frames
        logits: list[NDArray[np.float32]] = []
        warnings: list[str] = []
        if isinstance(clip, (str, Path)):
            path = Path(clip)
            info = probe(path)
            frames, duration_s = info.frames, info.duration_s
            if info.cut:
                warnings.append(f"{clip} ends before its header says; its frames are spread over what is there")
        else:
            _check_clip(clip)
            frames, duration_s = len(clip), len(clip) / self.manifest.rate_fps
        for place in segment_views(count):  # one after another, so that the pictures of no more than one are held
            times_s = segment_times(duration_s, window, place)
            if isinstance(clip, (str, Path)):
                pictures = read_frames_at(path, times_s)
            else:
                pictures = [clip[int(index)] for index in np.floor(times_s * self.manifest.rate_fps + 1e-6)]
            logits.extend(self._infer_views([self._crops(picture, crops) for picture in pictures]))
        return self._result(clip, logits, duration_s, max(0, window - frames), warnings)

    def _result(
        self,
        clip: str | Path | NDArray[np.uint8],
        logits: list[NDArray[np.float32]],
        duration_s: float,
        repeated: int,
        warnings: list[str],
    ) -> ClipResult:
        """Average the views."""
        scores = softmax(np.stack(logits)).mean(axis=0)
        return ClipResult(
            path=str(clip) if isinstance(clip, (str, Path)) else "frames",
            scores=dict(zip(self.labels, scores.tolist(), strict=True)),
            views=len(logits),
            duration_s=duration_s,
            repeated_frames=repeated,
            warnings=tuple(warnings),
        )

    def check_views(self, views: tuple[int, int] | None) -> None:
        """Check that (clips, crops) can be made; None always can.

        Raises:
            OptionError: saying why not.
        """
        if views is None:
            return
        if len(views) != 2 or views[0] < 1 or views[1] not in (1, 3):
            raise OptionError(
                f"views {'x'.join(map(str, views))} cannot be made; it is clips x crops, and crops are 1 or 3, as in 5x3"
            )
        if views[1] == 3 and self.manifest.resize == "stretch":
            raise OptionError(
                f"{self.manifest.name} sees the whole picture, so there is nothing to crop; use views like 5x1"
            )

    def _infer_views(self, frames: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Return the logits (classes,) of every crop of a window of frames (crops, H, W, 3)."""
        stacked = np.stack(frames, axis=1)  # (crops, T, H, W, 3)
        return [self.engine.infer(np.ascontiguousarray(crop)[None])[0] for crop in stacked]

    def _sampled(
        self, clip: str | Path | NDArray[np.uint8], crops: int, warnings: list[str]
    ) -> Iterator[tuple[list[NDArray[np.uint8]], float, bool]]:
        """Give the clip at the model's rate: frames (crops, H, W, 3), their time, and whether a gap lies before them."""
        rate_fps = self.manifest.rate_fps
        if not isinstance(clip, (str, Path)):
            _check_clip(clip)
            for index, frame in enumerate(clip):
                yield [self._crops(frame, crops)], index / rate_fps, False
            return
        sampler = Sampler(rate_fps)
        size: tuple[int, ...] | None = None
        gaps = repeats = 0
        for frame, time_s in read_frames(Path(clip), warnings.append):
            broken = sampler.is_gap(time_s) or size not in (None, frame.shape)
            if broken:
                gaps += 1
                sampler.reset()
            size = frame.shape
            places = sampler.take(time_s)
            repeats += max(0, places - 1)
            # frames between two ticks are not resized
            yield [self._crops(frame, crops)] * places if places else [], time_s, broken
        if gaps:
            warnings.append(f"{clip} has {gaps} gaps or changes of size; no window reaches over one")
        if repeats > self.manifest.geometry.frames:
            warnings.append(
                f"{clip} has fewer than the {rate_fps:g} frames a second that the model wants; frames were repeated"
            )

    def _crops(self, frame: NDArray[np.uint8], crops: int) -> NDArray[np.uint8]:
        geometry = self.manifest.geometry
        size = {"height_px": geometry.height_px, "width_px": geometry.width_px}
        parts = [frame]
        if crops == 3:
            height, width = frame.shape[:2]
            side = min(height, width)
            starts = [0, (max(height, width) - side) // 2, max(height, width) - side]
            parts = [frame[:, s : s + side] if width >= height else frame[s : s + side] for s in starts]
        return np.stack([preprocess(part, resize=self.manifest.resize, color="rgb", **size) for part in parts])


def _check_clip(clip: object) -> None:
    if (
        not isinstance(clip, np.ndarray)
        or clip.ndim != 4
        or clip.shape[-1] != 3
        or clip.dtype != np.uint8
        or not clip.size
    ):
        raise FrameError("a clip is a path, or frames uint8 (N, H, W, 3) RGB at the model's rate")


def check_choice(mask: int | Literal["auto"], threads: int | None) -> None:
    """Check what was asked of any model, whatever runs it.

    Raises:
        OptionError: if there is no such mask, or no such number of threads.
    """
    if mask not in ("auto", 0, 25, 50, 75):
        raise OptionError(f"mask {mask!r} is not 'auto', 0, 25, 50 or 75 (percent)")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads {threads!r} is not a whole number from 1")


def load(
    name_or_path: str | Path,
    *,
    engine: str = "auto",
    mask: int | Literal["auto"] = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Model:
    """Load a model.

    Args:
        name_or_path: a built-in name, or the path of a bundle.
        engine: `onnxruntime`, `openvino`, `tensorrt`, `tensorrt-rtx`, or `auto`: what `mar-edge verify` found fastest on
            this device; without that ONNX Runtime, which is always there.
        mask: mask ratio in percent, or `auto`: as trained.
        precision: `fp32`, `fp16`, `bf16`, `int8`, or `auto`: what `mar-edge verify` found fastest on this device among
            those that kept their bounds; without that `fp32`.
        threads: CPU threads for one inference; None for all cores. What was verified with another number does not
            count for `auto`.

    Raises:
        BundleError: if there is no such bundle, it is damaged, or lacks the graph asked for.
        EngineError: if the engine is not there or refuses the graph.
        MissingExtraError: if the engine asked for is not installed.
        OptionError: if the mask or the number of threads cannot be.
    """
    check_choice(mask, threads)
    bundle = open_bundle(name_or_path)
    choice = choose(bundle, engine=engine, mask=mask, precision=precision, threads=threads)
    return Model(bundle, create_engine(bundle, choice.variant, choice.engine, threads=threads), choice.reason)
