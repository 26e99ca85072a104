"""One run of `mar-edge record`: keys or a timer begin clips, until a person, a count or the source ends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mar_edge.cli.recording.keys import Pressed, terminal_keys
from mar_edge.counting import counted
from mar_edge.datasets.recording.clip_recorder import Cut
from mar_edge.errors import OutputError
from mar_edge.runtime.results import ShownFrame

if TYPE_CHECKING:
    from mar_edge.cli.views.recording_view import RecordingView
    from mar_edge.cli.views.window import Windows
    from mar_edge.datasets.recording.clip_recorder import ClipRecorder
    from mar_edge.datasets.recording.label_folder import Clip, LabelFolder
    from mar_edge.datasets.recording.live_frames import LiveFrames
    from mar_edge.runtime.frame import Frame

POLL_S = 0.03
"""How long a frame is waited for before keys and windows are looked at."""

GAP_S = 0.5
"""A clip with a longer time without a frame is remarked on."""

BEGIN_KEYS, DELETE_KEYS, END_KEYS = " \n\r", "dD", "qQ"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When clips are recorded.

    Attributes:
        length_s: of a clip, seconds.
        every_s: time from the begin of a clip to that of the next, seconds; None to wait for keys.
        count: clips after which it ends; None for no limit.
    """

    length_s: float
    every_s: float | None = None
    count: int | None = None


class RecordingLoop:
    """Records clips until it is told to stop.

    Args:
        frames: not started yet.
        folder: where clips go.
        recorder: makes them.
        plan: when.
        view: what a person sees.
        tell: called with a record for each clip; None for nobody.
        windows: that show the picture; None for none.

    Attributes:
        interrupted: whether a signal ended it.
    """

    def __init__(
        self,
        frames: LiveFrames,
        folder: LabelFolder,
        recorder: ClipRecorder,
        plan: Plan,
        *,
        view: RecordingView,
        tell: Callable[[dict[str, Any]], None] | None = None,
        windows: Windows | None = None,
    ) -> None:
        self.interrupted = False
        self._frames, self._folder, self._recorder, self._plan = frames, folder, recorder, plan
        self._view, self._windows = view, windows
        self._tell = tell or (lambda _record: None)
        self._next_s: float | None = None
        self._now_s: float | None = None
        self._dropped = 0
        self._told_shortened = False

    @property
    def began(self) -> bool:
        """Whether a frame has come."""
        return self._now_s is not None

    def run(self) -> None:
        """Run until the end.

        Raises:
            SourceError: if the source cannot be opened, or is lost; finished clips stay.
            OutputError: if a clip cannot be written, or a window cannot be opened; finished clips stay.
        """
        with ExitStack() as stack:
            stack.callback(self._folder.close)
            stack.callback(self._drop_unfinished)
            if self._windows is not None:
                stack.callback(self._windows.destroy)
            stack.callback(self._frames.close)
            try:
                pressed = stack.enter_context(terminal_keys())
                stack.enter_context(self._view.drawing())
                self._frames.start()
                self._loop(pressed)
            except KeyboardInterrupt:
                self.interrupted = True

    def _loop(self, pressed: Pressed) -> None:
        while self._plan.count is None or self._folder.kept < self._plan.count:
            if not self._act(pressed()) or not self._draw():
                return
            try:
                frame = self._frames.next(POLL_S)
            except TimeoutError:
                continue
            finally:
                for message in self._frames.source.warnings.take():
                    self._view.say(f"warning: {message}", "yellow")
            if frame is None:
                self._note(self._recorder.end())
                self._view.say(f"{self._frames.source.name} has ended", "dim")
                return
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        self._now_s = frame.time_s
        if self._plan.every_s is not None:
            if self._next_s is None:
                self._next_s = frame.time_s + self._plan.every_s
            elif frame.time_s >= self._next_s:
                self._next_s = frame.time_s + self._plan.every_s
                self._begin()
        self._note(self._recorder.add(frame))
        if self._windows is not None:
            self._windows.write(ShownFrame(stream=self._frames.source.name, frame=frame, time_s=frame.time_s))

    def _begin(self) -> None:
        self._recorder.begin()
        self._dropped = self._frames.source.dropped
        self._view.bell()
        if self._recorder.shortened and not self._told_shortened:
            self._told_shortened = True
            self._view.say(
                "warning: clips begin later than --before says: the frames before take too much memory. Use a smaller picture",
                "yellow",
            )

    def _act(self, keys: str) -> bool:
        """Do what keys ask for; return whether to go on."""
        for key in keys:
            if key in END_KEYS:
                return False
            if key in DELETE_KEYS:
                self._delete()
            elif key in BEGIN_KEYS and self._waits_for_key():
                self._begin()
        return True

    def _waits_for_key(self) -> bool:
        return self._plan.every_s is None and self._now_s is not None and not self._recorder.recording

    def _delete(self) -> None:
        """Drop the clip that is being recorded, or else delete the last one."""
        if self._recorder.cancel():
            self._view.say("the clip was not kept", "yellow")
            return
        try:
            clip = self._folder.delete_last()
        except OutputError as error:
            self._view.say(f"warning: {error}", "yellow")
            return
        if clip is None:
            self._view.say("there is no clip of this recording to delete", "yellow")
            return
        self._view.say(f"deleted {clip.path}", "yellow")
        self._tell({"type": "deleted", "path": str(clip.path)})

    def _note(self, ended: Clip | Cut | None) -> None:
        """Tell of a clip that ended."""
        if ended is None:
            return
        if isinstance(ended, Cut):
            self._view.say(f"warning: the clip was not kept: {ended.why}", "yellow")
            return
        dropped = self._frames.source.dropped - self._dropped
        lost = f", {counted(dropped, 'frame')} dropped" if dropped else ""
        self._view.bell()
        self._view.say(f"{ended.path}: {counted(ended.frames, 'frame')} in {ended.duration_s:.2f} s{lost}")
        if ended.longest_gap_s > GAP_S:
            self._view.say(f"warning: it has no frame for {ended.longest_gap_s:.1f} s within it", "yellow")
        self._tell({**ended.to_json(), "dropped": dropped})

    def _draw(self) -> bool:
        """Draw the state; return False when a person closed the window."""
        of = "" if self._plan.count is None else f" of {self._plan.count}"
        counts = f"{self._folder.kept}{of} {'clip' if self._folder.kept == 1 and not of else 'clips'}"
        if self._now_s is None:
            self._view.connecting(self._frames.source.name)
        elif self._recorder.recording:
            self._view.recording(counts, self._recorder.recorded_s, self._plan.length_s)
        elif self._next_s is not None:
            self._view.counting_down(counts, self._next_s - self._now_s)
        else:
            self._view.waiting(counts)
        if self._windows is None:
            return True
        self._windows.caption = self._view.text
        return self._windows.draw() and self._act(self._windows.pressed)

    def _drop_unfinished(self) -> None:
        if self._recorder.cancel():
            self._view.say("the clip that was being recorded was not kept", "yellow")
