"""A model to use: the graph that was chosen from a bundle, and the engine that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import open_bundle
from mar_edge.counting import counted_of
from mar_edge.errors import EngineError, OptionError
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.reporting import Warn
from mar_edge.runtime.clips.clip_answers import answer
from mar_edge.runtime.clips.clip_result import ClipResult
from mar_edge.runtime.clips.whole_clip import Views, WholeClip, check_views
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.engine_set import EngineSet, Unloaded
from mar_edge.runtime.engines.registry import MOST_THREADS, create_engine
from mar_edge.runtime.measurement.choice import choose
from mar_edge.runtime.results import Event
from mar_edge.runtime.sources.open import clip_file
from mar_edge.runtime.sources.source import Source
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.session import Session
from mar_edge.runtime.streams.smoothing import softmax
from mar_edge.runtime.streams.stream import Stream


class Model:
    """A loaded model. Where it is pickled, as for a process that is spawned, the same graph is loaded again.

    Args:
        engine: a loaded graph.
        reason: why this engine and graph were chosen, for messages.
        others: graphs of other masks that can be loaded, by mask in percent.

    Attributes:
        engine, reason: as given.
        engines: the engines of all masks; those that are loaded are shared by sessions and streams.
    """

    def __init__(
        self, engine: Engine, reason: str = "as asked", *, others: Mapping[int, Unloaded] | None = None
    ) -> None:
        self.engine = engine
        self.engines = EngineSet(engine, others)
        self.reason = reason
        self._load_again: Callable[[], Model] | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Callable[[], Model], tuple[()], dict[str, Any]]:
        """Pickle how it was loaded.

        Raises:
            EngineError: if it was not loaded by `load`.
        """
        if self._load_again is None:
            raise EngineError("a model with a custom engine cannot be pickled. Create it in each process")
        return self._load_again, (), {"reason": self.reason}

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.engine.spec

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the scores."""
        return self.spec.labels

    @property
    def variant(self) -> GraphSpec:
        """The graph in use."""
        return self.engine.variant

    @property
    def masks(self) -> tuple[int, ...]:
        """Mask ratios in percent that a session may change to: of the same precision, in the same engine."""
        return self.engines.masks

    def load_masks(self, *masks: int) -> None:
        """Load graphs of other masks ahead, so that a change to them takes no time.

        Args:
            *masks: in percent; all by default.

        Raises:
            OptionError: if the model has no such graph.
            BundleError, EngineError: if it cannot be loaded.
        """
        self.engines.load(masks or None)

    def session(self, **options: Any) -> Session:
        """Return a session to use in your own loop.

        Args:
            **options: those of `Session`: stream, hop, smoothing_s, rule, mask, skip_still, dial, mirror.
        """
        self.engine.check_process()
        return Session(self.engines, **options)

    def stream(
        self,
        source: str | int | Path | Source,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_warning: Warn | None = None,
        **options: Any,
    ) -> Stream:
        """Recognise a source until it ends.

        Args:
            source: camera number, file path, network address, `"demo"`, frames, or a source object; see `open_source`.
            on_event: called with every event, including the one that the end of the stream cuts off.
            on_warning: called with what the operator should know.
            **options: those of `Runner.add`: name, hop, smoothing_s, rule, max_age_s, max_retries, stall_s, realtime, max_s,
                skip_still, dial, mirror.

        Returns:
            Predictions in order of time, to iterate over; its `stop` ends it from any thread.

        Raises:
            SourceError: if the source is unknown; while iterating, if it cannot be opened or read.
            OptionError: if an option is invalid.
        """
        runner = Runner()
        runner.add(source, self, **options)
        return Stream(runner, on_event=on_event, on_warning=on_warning)

    def classify(self, clip: str | Path | NDArray[np.uint8], *, views: Views | None = None) -> ClipResult:
        """Classify a video file or its frames.

        Args:
            clip: a video file; or its frames at the model's rate, uint8 (N, H, W, 3) RGB.
            views: (clips, crops) to average as in multi-view evaluation; see `WholeClip` for the default. A streaming model runs
                through the whole clip in each crop, and its answers are averaged from the first full band on; of a shorter
                clip the last answer counts. A model whose `clip_answer` is `peak` gives the one answer that names an action
                most surely.

        Raises:
            SourceError: if the file cannot be read.
            FrameError: if the frames are not pictures.
            OptionError: if the views are invalid.
        """
        self.engine.check_process()
        check_views(views, self.spec)
        whole = WholeClip(clip_file(clip) if isinstance(clip, (str, Path)) else clip, self.spec, views)
        found = answer(self.engine, whole)
        scores = softmax(found.logits).mean(axis=0)
        doubts, count = found.doubts, len(found.logits)
        example = "" if len(set(doubts)) == 1 else "for instance "
        unsure = f"{counted_of(len(doubts), count, found.noun)}: {example}{doubts[0]}" if doubts else None
        if doubts and count == 1:
            unsure = doubts[0]
        mostly = 2 * len(doubts) > count
        return ClipResult(
            path=whole.name,
            scores=dict(zip(self.labels, scores.tolist(), strict=True)),
            views=found.views,
            duration_s=whole.duration_s,
            repeated_frames=whole.repeated_frames,
            doubt=unsure if mostly else None,
            warnings=(*whole.warnings, *([f"{whole.name}: {unsure}"] if unsure else [])),
        )


def check_choice(mask: int | Literal["auto"], threads: int | None) -> None:
    """Check the options that apply to any engine.

    Raises:
        OptionError: if there is no such mask, or no such number of threads.
    """
    if mask not in ("auto", 0, 25, 50, 75):
        raise OptionError(f"mask {mask!r} is invalid; use 'auto', 0, 25, 50 or 75 (percent)")
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS):
        raise OptionError(f"threads {threads!r} is invalid; use an integer from 1 to {MOST_THREADS}")


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
            this device; without a measurement ONNX Runtime, which is always installed.
        mask: mask ratio in percent, or `auto`: as trained.
        precision: `fp32`, `fp16`, `bf16`, `int8-bf16`, `int8`, or `auto`: what `mar-edge verify` found fastest on this device among
            those within their bounds; without a measurement `fp32`.
        threads: CPU threads for one inference; None for all cores. What was verified with another number of threads does not
            count for `auto`.

    Raises:
        BundleError: if there is no such bundle, it is damaged, or lacks the graph asked for.
        EngineError: if the engine cannot be loaded or rejects the graph.
        MissingExtraError: if the engine asked for is not installed.
        OptionError: if the mask or the number of threads is invalid.
    """
    check_choice(mask, threads)
    bundle = open_bundle(name_or_path)
    choice = choose(bundle, engine=engine, mask=mask, precision=precision, threads=threads)
    others: dict[int, Unloaded] = {}
    for percent in {
        variant.mask for variant in bundle.manifest.variants if variant.precision == choice.variant.precision
    }:
        graph = bundle.variant(percent, choice.variant.precision, engine=choice.engine)
        others[percent] = Unloaded(graph.gmacs, partial(create_engine, bundle, graph, choice.engine, threads=threads))
    model = Model(create_engine(bundle, choice.variant, choice.engine, threads=threads), choice.reason, others=others)
    model._load_again = partial(
        load,
        bundle.path.absolute(),
        engine=choice.engine,
        mask=choice.variant.mask,
        precision=choice.variant.precision,
        threads=threads,
    )
    return model
