"""Sources, engines and sinks without hardware, for tests of programs that use mar-edge.

```python
from mar_edge.testing import FakeEngine, ListSink, Lost, Play, Refused, ScriptedSource

source = ScriptedSource([Play(2), Lost("ended"), Refused(), Play(2)])
sink = ListSink()
with mar_edge.Runner(sinks=[sink]) as runner:
    runner.add(source, mar_edge.Model(FakeEngine()))
    runner.wait(30)
assert "live" in [notice.code for notice in sink.of(mar_edge.Notice)]
```
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import SourceCode, SourceError, SourceTimeoutError
from mar_edge.geometry import Geometry
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.reporting import Warnings
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.stream_state import StateLayout, StreamState
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.results import Kind, Record

_T = TypeVar("_T")

_NUMBER_PX = 8


@dataclass(frozen=True)
class Play:
    """Frames.

    Attributes:
        seconds: for how long.
        brightness: of the pictures, 0 to 255.
        size_px: (width, height) of the pictures; None for the source's.
        clock_s: what is added to the times of the frames: a clock that jumps.
    """

    seconds: float
    brightness: int = 128
    size_px: tuple[int, int] | None = None
    clock_s: float = 0.0


@dataclass(frozen=True)
class Silence:
    """A connection that delivers nothing, as a camera that freezes.

    Attributes:
        seconds: for how long.
    """

    seconds: float


@dataclass(frozen=True)
class Hang:
    """A read that does not return in time, nor when the connection is closed, as of a driver that hangs.

    Attributes:
        seconds: for how long.
    """

    seconds: float


@dataclass(frozen=True)
class Lost:
    """The end of a connection by an error; what follows needs another one.

    Attributes:
        code: of the error.
    """

    code: SourceCode = "ended"


@dataclass(frozen=True)
class Refused:
    """An attempt to connect that fails.

    Attributes:
        code: of the error.
        retry: whether a later attempt may succeed.
    """

    code: SourceCode = "refused"
    retry: bool = True


Act = Play | Silence | Hang | Lost | Refused


class ScriptedSource:
    """A source that does what a script says, and then ends.

    Each picture carries the number of its frame, see `frame_number`, so that a test can tell which frames a model saw.

    Args:
        script: what happens, one after another.
        name: of the source.
        live: whether frames come at their own pace, and are lost if nobody takes them; otherwise it waits, and time passes
            only from frame to frame.
        fps: frames per second.
        size_px: (width, height) of the pictures, at least 8 a side.

    Attributes:
        connections: attempts to connect so far.
        open: connections that are not closed.
    """

    def __init__(
        self,
        script: Sequence[Act],
        *,
        name: str = "scripted",
        live: bool = True,
        fps: float = 30.0,
        size_px: tuple[int, int] = (64, 48),
    ) -> None:
        self.name, self.live, self.fps, self.size_px = name, live, fps, size_px
        self.dropped = 0
        self.warnings = Warnings()
        self.connections = 0
        self.open = 0
        self._script = list(script)
        self._number = 0
        self._quiet_until_s: float | None = None  # a silence lasts on, however often it is connected again

    def connect(self) -> ScriptedConnection:
        """Connect, or fail as the script says.

        Raises:
            SourceError: if the script says so.
        """
        self.connections += 1
        if self._script and isinstance(self._script[0], Refused):
            refused = self._script.pop(0)
            assert isinstance(refused, Refused)
            raise SourceError(f"{self.name} cannot be opened", code=refused.code, retry=refused.retry)
        self.open += 1
        return ScriptedConnection(self)


class ScriptedConnection:
    """A connection of a `ScriptedSource`."""

    def __init__(self, source: ScriptedSource) -> None:
        self._source = source
        self._closed = threading.Event()
        self._closing = threading.Lock()  # the thread that reads and the one that stops may both close
        self._act_began_s = self._began_s = time.monotonic()
        self._time_s = 0.0  # of the connection, without waiting
        self._next_s = 0.0  # when the next frame is due

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame of the script; see `Connection.read`."""
        source = self._source
        while source._script and not self._closed.is_set():
            act = source._script[0]
            if isinstance(act, Play):
                if self._next_s < self._act_began_s - self._began_s + act.seconds:
                    return self._frame(act, timeout_s)
                self._finish_act(act.seconds)
            elif isinstance(act, (Silence, Hang)):
                self._wait(act, timeout_s)
            elif isinstance(act, Lost):
                source._script.pop(0)
                raise SourceError(f"{source.name} was lost", code=act.code)
            else:
                raise SourceError(f"{source.name} was lost", code="ended")
        return None

    def close(self) -> None:
        """Close; a `read` that waits returns None, unless it hangs."""
        with self._closing:
            if not self._closed.is_set():
                self._closed.set()
                self._source.open -= 1

    def _finish_act(self, seconds: float) -> None:
        self._source._script.pop(0)
        self._act_began_s += seconds

    def _wait(self, act: Silence | Hang, timeout_s: float) -> None:
        source = self._source
        if not source.live:
            self._next_s += act.seconds
            self._finish_act(act.seconds)
            return
        if source._quiet_until_s is None:
            source._quiet_until_s = time.monotonic() + act.seconds
        left_s = source._quiet_until_s - time.monotonic()
        if isinstance(act, Hang):
            time.sleep(max(0.0, left_s))
        elif left_s > timeout_s:
            self._closed.wait(timeout_s)
            raise SourceTimeoutError(f"{source.name}: no frame for {timeout_s:g} s")
        else:
            if self._closed.wait(max(0.0, left_s)):
                return
        source._quiet_until_s = None
        source._script.pop(0)
        self._act_began_s = time.monotonic()
        self._next_s = self._act_began_s - self._began_s

    def _frame(self, act: Play, timeout_s: float) -> Frame | None:
        source = self._source
        if source.live:
            left_s = self._began_s + self._next_s - time.monotonic()
            if left_s > timeout_s:
                self._closed.wait(timeout_s)
                raise SourceTimeoutError(f"{source.name}: no frame for {timeout_s:g} s")
            if left_s > 0 and self._closed.wait(left_s):
                return None
            while left_s < -2 / source.fps and self._next_s + 1 / source.fps < (
                self._act_began_s - self._began_s + act.seconds
            ):  # a camera would have gone on
                source.dropped += 1
                source._number += 1
                self._next_s += 1 / source.fps
                left_s += 1 / source.fps
        time_s, self._next_s = self._next_s, self._next_s + 1 / source.fps
        number, source._number = source._number, source._number + 1
        size_px = act.size_px or source.size_px
        return Frame(
            picture=lambda: numbered(number, size_px, act.brightness),
            size_px=size_px,
            time_s=time_s + act.clock_s,
            arrived_s=time.monotonic() if source.live else None,
        )


def numbered(number: int, size_px: tuple[int, int], brightness: int = 128) -> NDArray[np.uint8]:
    """Return a picture, uint8 (H, W, 3) RGB, that carries a number below 2**32 in four bars across it."""
    width, height = size_px
    picture = np.full((height, width, 3), brightness, np.uint8)
    for place in range(4):
        picture[:, place * width // _NUMBER_PX : (place + 1) * width // _NUMBER_PX] = number >> 8 * place & 0xFF
    return picture


def frame_number(picture: NDArray[np.uint8]) -> int:
    """Return the number in a picture of `numbered`, uint8 (H, W, 3), which may have been made smaller."""
    width = picture.shape[1]
    row = picture[picture.shape[0] // 2, :, 0]
    return sum(int(row[(2 * place + 1) * width // (2 * _NUMBER_PX)]) << 8 * place for place in range(4))


class FakeEngine(Engine):
    """An engine without a graph.

    Args:
        labels: class names; the first is the idle class.
        answer: returns the label for a clip, uint8 (T, H, W, 3), or for a time step of a streaming model; by default the
            class by its brightness, dark to bright.
        delay_s: how long an inference takes, seconds, for each clip or time step.
        frames: length of a window, or of a streaming model's band.
        size_px: side of the pictures that the model takes.
        rate_fps: frames per second that the model expects.
        keep: whether to keep the clips.
        streaming: whether it is of a streaming model, which sees one time step of two frames at a time and keeps a state: the
            mean brightness of each step, 0 to 1, in keys and values of one attention.

    Attributes:
        clips: clips or time steps that were inferred, uint8 (T, H, W, 3), if they are kept.
        inferences: how many were inferred.
    """

    name = "fake"

    def __init__(
        self,
        *,
        labels: Sequence[str] = ("dark", "light", "bright"),
        answer: Callable[[NDArray[np.uint8]], str] | None = None,
        delay_s: float = 0.0,
        frames: int = 16,
        size_px: int = 32,
        rate_fps: float = 10.0,
        keep: bool = True,
        streaming: bool = False,
    ) -> None:
        spec = ModelSpec(
            name="fake",
            description="an engine for tests",
            licence="Apache-2.0",
            labels=list(labels),
            temporal="causal" if streaming else "window",
            geometry=Geometry(frames=frames, height_px=size_px, width_px=size_px, patch_px=8),
            rate_fps=rate_fps,
            resize="stretch",
            idle_label=labels[0],
            architecture={},
            trained_mask=50,
            provenance={},
        )
        super().__init__(spec, GraphSpec(mask=50, precision="fp32", gmacs=0.001), Path("fake.onnx"))
        if streaming:
            self.layout = StateLayout.of(spec.geometry, self.variant.mask / 100, [(1, 4)])
        self.clips: list[NDArray[np.uint8]] = []
        self.inferences = 0
        self.delay_s = delay_s
        self._answer = answer or self._by_brightness
        self._keep = keep

    def _by_brightness(self, clip: NDArray[np.uint8]) -> str:
        labels = self.spec.labels
        bright = float(clip[..., -clip.shape[-2] // 4 :, :].mean()) / 256  # beside the number
        return labels[int(bright * len(labels))]

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.delay_s:
            time.sleep(self.delay_s * len(frames))
        self.inferences += len(frames)
        if self._keep:
            self.clips += [clip.copy() for clip in frames]
        logits = np.zeros((len(frames), len(self.spec.labels)), np.float32)
        for row, clip in enumerate(frames):
            logits[row, self.spec.labels.index(self._answer(clip))] = 8.0
        return logits

    def _step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        logits = self._infer(frames)
        for step, state in zip(frames, states, strict=True):
            brightness = np.float32(step.mean() / 255)
            state.write([np.full(shape, brightness, np.float32) for shape in state.layout.shapes(1)])
        return logits


class ListSink:
    """A sink that keeps what it is given.

    Args:
        wants: kinds of records that it is given.

    Attributes:
        records: those that came, in order.
        closed: whether it was closed.
    """

    def __init__(
        self, wants: Sequence[Kind] = ("prediction", "event", "notice", "summary"), name: str = "list"
    ) -> None:
        self.name = name
        self.wants: frozenset[Kind] = frozenset(wants)
        self.records: list[Record] = []
        self.closed = False

    def write(self, record: Record) -> None:
        """Keep a record."""
        self.records.append(record)

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def of(self, kind: type[_T]) -> list[_T]:
        """Return the records of a type, in order."""
        return [record for record in self.records if isinstance(record, kind)]
