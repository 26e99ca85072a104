"""A session: push frames in, get predictions out. The caller owns the loop."""

from __future__ import annotations

import math
import time
from functools import partial
from numbers import Real
from typing import NoReturn, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import DataError, EngineError, FrameError, OptionError
from mar_edge.reporting import Warnings
from mar_edge.runtime.clips.preprocess import check_frame
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.engine_set import EngineSet
from mar_edge.runtime.frame import Color, Frame
from mar_edge.runtime.results import Event, Prediction
from mar_edge.runtime.streams.engine_in_use import EngineInUse
from mar_edge.runtime.streams.event_rule import EventRule
from mar_edge.runtime.streams.feed import Feed, ModelInput
from mar_edge.runtime.streams.recogniser import Recogniser, infer
from mar_edge.runtime.streams.saving.dial import DialOptions
from mar_edge.runtime.streams.session_state import Notes, Origin, SessionState
from mar_edge.runtime.streams.stream_name import checked_name


class Session:
    """Recognition on one stream of frames: a window, an engine and a decision.

    A gap in time or a change of the frames' size empties the window, and the state of a streaming model: none spans it. `push` returns when the inference
    has ended; frames that are not pushed meanwhile are missing. For a source that does not wait, see `Model.stream`.
    Not thread-safe; use one session for each stream and thread.

    Args:
        engine: what runs the graph; or the engines of several masks, among which `set_mask` and the dial choose.
        stream: name of the stream, for its results.
        hop: sampled frames between two predictions; by default an eighth of the window. A streaming model runs every time
            step, and predicts after a multiple of its frames.
        smoothing_s: time constant of the score average, seconds; None for the model's own, or 0.3.
        rule: when events begin and end; what it leaves open is as the model says.
        mask: mask ratio to begin with, percent; None for that of the engine that is loaded.
        skip_still: difference in grey levels, above 0 to 255, up to which a time step of a streaming model shows nothing new
            and repeats the last answer, marked `reused`; True for a measured default, None to run every step.
        dial: what recognition may spend; the mask is chosen accordingly between inferences. The graphs of all masks are
            loaded at once.
        mirror: recognise the mirror image of every frame: for a camera that faces its user.

    Attributes:
        warnings: what the operator should know, the newest 100 that were not read yet.
        hop: sampled frames between two predictions.

    Raises:
        OptionError: if an option is invalid.
        BundleError, EngineError: if the graph of another mask cannot be loaded.
    """

    def __init__(
        self,
        engine: Engine | EngineSet,
        *,
        stream: str = "session",
        hop: int | None = None,
        smoothing_s: float | None = None,
        rule: EventRule | None = None,
        mask: int | None = None,
        skip_still: float | None = None,
        dial: DialOptions | None = None,
        mirror: bool = False,
    ) -> None:
        self.stream = checked_name(stream)
        self.warnings = Warnings()
        engines = engine if isinstance(engine, EngineSet) else EngineSet(engine)
        self._in_use = EngineInUse(engines, mask=mask, dial=dial)
        self._in_use.tell = self._tell
        self._spec = engines.first.spec
        self._feed = Feed(self._spec, hop=hop, mirror=mirror)
        self._new_recogniser = partial(
            Recogniser, stream=self.stream, smoothing_s=smoothing_s, rule=rule, skip_still=skip_still
        )
        self._recogniser = self._new_recogniser(self._in_use.engine)
        self.hop = self._feed.hop
        self._warned_at = -1
        self._inferred_s = 0.0  # how long the inferences took since the window was full

    @property
    def frames(self) -> int:
        """Frames pushed so far; repeats of a held one are not counted."""
        return self._feed.frames

    @property
    def inferences(self) -> int:
        """Inferences so far."""
        return self._recogniser.inferences

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
            A prediction when the window is full and has moved by `hop` sampled frames, else None. A streaming model predicts
            from its first time step on; `Prediction.warm` tells how much of its band it has seen.

        Raises:
            FrameError: on a wrong shape, type or time; the session is as it was before.
            EngineError: if the engine fails, or was loaded in another process.
        """
        self._in_use.engine.check_process()
        picture = check_frame(frame)
        arrived_s = time.monotonic() if arrived_s is None else _checked_arrival(arrived_s)
        fed = self._feed.add(Frame(picture=picture, time_s=time_s, color=color, arrived_s=arrived_s, held=held))
        if fed.cut is not None:
            self._cut(fed.cut)
        if fed.slow:
            self._warn_slow()
        predictions = [self._recognise(one) for one in fed.inputs]
        return predictions[-1] if predictions else None

    @property
    def mask(self) -> int:
        """Mask ratio of the next inference, percent."""
        return self._in_use.engine.variant.mask

    def set_mask(self, mask: int) -> None:
        """Change the mask ratio of the next inference on; what the model keeps of the stream stays.

        A mask that was not used before is loaded, which may take seconds; see `Model.load_masks`. A streaming model goes on
        with the tokens that both masks show: after a change to a lower mask it needs a band of time steps to see all.

        Args:
            mask: percent.

        Raises:
            OptionError: if the model has no graph of that mask in this precision, or a dial chooses the mask.
            BundleError, EngineError: if the graph cannot be loaded.
        """
        self._in_use.set_mask(mask)
        self._recogniser.use(self._in_use.engine)

    def state(self) -> SessionState:
        """Return all that the session knows of its stream, as a copy: of the model, the sampled frames, and events.

        `restore` in a session with the same options goes on as if nothing had been between, also in another process, or on
        another device with the same number format. It is some MB; see `SessionState.save`.
        """
        notes = Notes(
            format="mar-edge/session-state/1",
            origin=Origin.of(self._in_use.engine),
            feed=self._feed.state(),
            **self._recogniser.notes(),
            warned_at=self._warned_at,
            inferred_s=self._inferred_s,
        )
        return SessionState(notes, {"frames": self._feed.pictures.copy(), **self._recogniser.arrays()})

    def restore(self, state: SessionState) -> None:
        """Go on from a state; what the session knew of its stream is lost. On an error it is as it was before.

        The time of the next frame must follow that of the state's last one; half a second later, or three sampled frames,
        it is a gap, which clears what the model keeps.

        Args:
            state: of a session of the same model, mask and precision. Where a dial chooses the mask, begin with that of
                the state: `model.session(mask=state.mask, dial=...)`.

        Raises:
            OptionError: if it is no `SessionState`.
            EngineError: if it is of another model, mask or precision.
            OptionError: if it is of a session that mirrors frames and this one does not, or the other way round.
            DataError: if it contradicts itself, as of a file that was changed.
        """
        if not isinstance(state, SessionState):
            raise OptionError(
                f"the state is {state!r}; give what Session.state returned, or for a file SessionState.load('door.npz')"
            )
        state.check(self._in_use.engine)
        mirror = self._feed.mirror
        if state.notes.feed.mirror != mirror:
            raise OptionError(
                f"this state is of a session with mirror={not mirror}; restore it in one: model.session(mirror={not mirror})"
            )
        feed = Feed(self._spec, hop=self.hop, mirror=mirror)
        recogniser = self._new_recogniser(self._in_use.engine)
        try:
            feed.restore(state.notes.feed, state.arrays["frames"])
            recogniser.restore(state.notes, state.arrays)
            if recogniser.state is not None and recogniser.state.step > feed.steps:
                raise ValueError("its time steps have no sensible numbers")
        except (KeyError, ValueError) as error:
            raise DataError(f"this session state is damaged: {error}") from error
        self._feed, self._recogniser = feed, recogniser
        self._warned_at, self._inferred_s = state.notes.warned_at, state.notes.inferred_s

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be pickled: a session holds an engine."""
        raise EngineError("a session cannot be pickled. Send the model to the process, and call its session() there")

    def reset(self) -> None:
        """Reset: empty window, no open event, and time may begin anywhere."""
        self._feed.reset()
        self._recogniser.cut_off()

    def finish(self) -> tuple[Event, ...]:
        """End the stream; return the events that no prediction has reported yet."""
        self._feed.reset()
        self._recogniser.cut_off()
        return self._recogniser.end_events()

    def _recognise(self, seen: ModelInput) -> Prediction | None:
        repeated = self._recogniser.repeat(seen)
        if repeated is not None:
            return self._recogniser.predict(seen, repeated, inference_ms=0.0, reused=True) if seen.predicts else None
        began_s = time.monotonic()
        logits = infer(self._in_use.engine, [(self._recogniser, seen)])[0]
        took_s = time.monotonic() - began_s
        self._inferred_s = max(self._inferred_s, took_s)
        found = self._recogniser.predict(seen, logits, inference_ms=1000 * took_s) if seen.predicts else None
        self._in_use.note(1000 * took_s)
        return found

    def _tell(self, _code: str, message: str) -> None:
        self.warnings(f"{self.stream}: {message}")

    def _cut(self, reason: str) -> None:
        if self._warned_at != self.inferences:  # once until the next result, however many gaps there are
            self._warned_at = self.inferences
            self.warnings(f"{self.stream}: {reason}; the window restarts")
        self._recogniser.cut_off()

    def _warn_slow(self) -> None:
        rate_fps = self._spec.rate_fps
        if self._inferred_s > self._feed.max_gap_s / 3:
            why = (
                f"an inference takes {1000 * self._inferred_s:.0f} ms, and no frame is pushed meanwhile; "
                "frames are repeated, and recognition may suffer. Use Model.stream, which reads in a thread of its own"
            )
        else:
            why = (
                f"delivers fewer than the {rate_fps:g} frames per second that the model expects; "
                "frames are repeated, and recognition may suffer"
            )
        self.warnings(f"{self.stream}: {why}")


def _checked_arrival(arrived_s: object) -> float:
    if not isinstance(arrived_s, Real) or not math.isfinite(arrived_s):
        raise FrameError(f"arrived_s is {arrived_s!r}; give time.monotonic() at the frame's capture, or leave it out")
    return float(arrived_s)
