"""A session: push frames in, get predictions out. The caller owns the loop."""

from __future__ import annotations

import time
from typing import NoReturn, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted
from mar_edge.credentials import without_credentials
from mar_edge.errors import EngineError, OptionError
from mar_edge.reporting import Warnings
from mar_edge.runtime.clips.preprocess import check_frame
from mar_edge.runtime.clips.windows import Step, Window
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.frame import Color, Frame
from mar_edge.runtime.streams.decision import Decision
from mar_edge.runtime.streams.events import EventRule
from mar_edge.runtime.results import Event, Prediction

TOP = 5


class Session:
    """Recognition on one stream of frames: a window, an engine and a decision.

    A gap in time or a change of the frames' size empties the window: no window spans it.
    Not thread-safe; use one session for each stream and thread.

    Args:
        engine: what runs the graph.
        stream: name of the stream, for its results.
        hop: sampled frames between two inferences; by default an eighth of the window.
        smoothing_s: time constant of the score average, seconds.
        rule: when events begin and end.

    Attributes:
        warnings: what the operator should know, the newest 100 that were not read yet.
        frames: frames pushed so far; repeats of a held one are not counted.
        inferences: inferences so far.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        stream: str = "session",
        hop: int | None = None,
        smoothing_s: float = 0.3,
        rule: EventRule | None = None,
    ) -> None:
        length = engine.spec.geometry.frames
        if hop is not None and (not isinstance(hop, int) or not 1 <= hop <= length):
            raise OptionError(
                f"hop {hop!r} is invalid; use an integer from 1 to the window's {counted(length, 'frame')}"
            )
        self.stream = without_credentials(stream)
        self.hop = hop or max(1, length // 8)
        self.warnings = Warnings()
        self.frames = 0
        self.inferences = 0
        self._engine = engine
        self._length = length
        self._rate_fps = engine.spec.rate_fps
        self._window = Window(engine.spec)
        self._decision = Decision(engine.spec, stream=self.stream, smoothing_s=smoothing_s, rule=rule)
        self._fresh = 0
        self._repeats = 0
        self._told_slow = False
        self._warned_at: int | None = None

    def push(
        self,
        frame: NDArray[np.uint8],
        time_s: float,
        *,
        color: Color = "bgr",
        arrived_s: float | None = None,
        held: bool = False,
    ) -> Prediction | None:
        """Add a frame.

        Args:
            frame: uint8 (H, W, 3); copied, the caller may use it again.
            time_s: when it was taken, in seconds; never less than the frame before.
            color: order of its channels; `bgr` as OpenCV gives it.
            arrived_s: `time.monotonic()` at its capture, for the latency; by default now.
            held: whether it repeats the frame before, which the source still shows, as a recording of variable rate
                does while nothing moves.

        Returns:
            A prediction when the window is full and has moved by `hop` sampled frames, else None.

        Raises:
            FrameError: on a wrong shape, type or time; the session is as it was before.
            EngineError: if the engine fails, or was loaded in another process.
        """
        self._engine.check_process()
        arrived_s = time.monotonic() if arrived_s is None else arrived_s
        held = held and self.frames > 0
        step = self._window.add(Frame(picture=check_frame(frame), time_s=time_s, color=color, held=held))
        if step.cut is not None:
            self._cut(step.cut)
        self.frames += not held
        self._fresh += step.places
        self._notice_slow_source(step)
        if not step.places or not step.full or self._fresh < self.hop:
            return None
        self._fresh = 0
        return self._predict(self.frames - 1, time_s, arrived_s)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be pickled: a session holds an engine."""
        raise EngineError("a session cannot be pickled. Send the model to the process, and call its session() there")

    def reset(self) -> None:
        """Reset: empty window, no open event, and time may begin anywhere."""
        self._window.reset()
        self._decision.cut()
        self._fresh = 0

    def finish(self) -> tuple[Event, ...]:
        """End the stream; return the events that no prediction has reported yet."""
        self.reset()
        return self._decision.take_events()

    def _predict(self, index: int, time_s: float, arrived_s: float) -> Prediction:
        doubt = self._window.doubt
        logits = self._engine.infer(self._window.clip[None])[0]
        self.inferences += 1
        scores, events = self._decision.update(
            logits, time_s, begins=doubt is None, ends=doubt is None or self._window.holds
        )
        return Prediction(
            stream=self.stream,
            time_s=time_s,
            frame=index,
            label=scores[0][0],
            score=scores[0][1],
            top=scores[:TOP],
            latency_ms=1000 * (time.monotonic() - arrived_s),
            mask=self._engine.variant.mask,
            engine=self._engine.name,
            doubt=doubt,
            events=events,
        )

    def _cut(self, reason: str) -> None:
        if self._warned_at != self.inferences:  # once until the next result, however many gaps there are
            self._warned_at = self.inferences
            self.warnings(f"{self.stream}: {reason}; the window restarts")
        self._decision.cut()
        self._fresh = 0

    def _notice_slow_source(self, step: Step) -> None:
        """Warn once when repeated frames exceed the other frames by a full window."""
        if not step.places:
            return
        self._repeats = max(0, self._repeats + (step.places - 1 if step.places > 1 else -1))
        if self._repeats >= self._length and not self._told_slow:
            self._told_slow = True
            self.warnings(
                f"{self.stream}: delivers fewer than the {self._rate_fps:g} frames per second that the model expects; "
                "frames are repeated, and recognition may suffer"
            )
