"""One run of `mar-edge run`: a runner, what a person sees of it, and how it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from mar_edge.cli.second_signal import keep_running_at
from mar_edge.cli.standard_streams import print_line
from mar_edge.counting import counted
from mar_edge.errors import MarEdgeError
from mar_edge.runtime.results import Notice

if TYPE_CHECKING:
    from mar_edge.runtime.model import Model
    from mar_edge.runtime.results import StreamStatus
    from mar_edge.runtime.sinks.outlet import Outlet
    from mar_edge.runtime.sources.source import Source

REFRESH_S = 0.1
PICTURE_S = 0.02
"""Pause between two looks at whether a window has a new picture."""


@dataclass(frozen=True)
class StreamPlan:
    """A stream to run.

    Attributes:
        source: see `Runner.add`.
        model: a loaded model.
        options: of `Runner.add`.
    """

    source: str | int | Source
    model: Model
    options: dict[str, Any] = field(default_factory=dict)


class LiveRun:
    """Runs streams until they end, or a person or a signal stops them.

    Args:
        plans: the streams.
        show: whether to open windows.
        print_events: print a line for each event where there is no live view.

    Attributes:
        runner: not started yet; outputs are added to it.
        names: of the streams.
    """

    def __init__(self, plans: Collection[StreamPlan], *, show: bool, print_events: bool) -> None:
        from mar_edge.cli.views.terminal import Terminal
        from mar_edge.runtime.streams.runner import Runner

        self.runner = Runner()
        self.names = [self._add_first(plan) for plan in plans]
        models = {id(plan.model): plan.model for plan in plans}
        self._lines = [_about(model) for model in models.values()]
        what = self.names[0] if len(self.names) == 1 else counted(len(self.names), "stream")
        first = next(iter(models.values()))
        title = first.spec.name if len(models) == 1 else counted(len(models), "model")
        foot = _foot(first) if len(models) == 1 else ""
        self._terminal = Terminal(f"mar-edge  {title}  {what}", foot, events=print_events)
        self._windows = None
        if show:
            from mar_edge.cli.views.window import Windows

            self._windows = Windows()
        # before the outputs, which may have something to say as soon as they are opened
        self._views: list[Outlet] = [
            self.runner.add_sink(view) for view in (self._terminal, self._windows) if view is not None
        ]
        self._reload: Callable[[], None] | None = None
        self._reload_wanted = False
        self._told: list[MarEdgeError] = []

    def add(self, plan: StreamPlan) -> str:
        """Add a stream; return its name. See `Runner.add`."""
        return self.runner.add(plan.source, plan.model, **plan.options)

    def _add_first(self, plan: StreamPlan) -> str:
        """Add a stream; an error says which, if there may be several."""
        try:
            return self.add(plan)
        except MarEdgeError as error:
            if "name" not in plan.options:
                raise
            raise type(error)(f"stream '{plan.options['name']}': {error}") from error

    def reload_on_hangup(self, reload: Callable[[], None]) -> None:
        """Call a function of the main thread's after each SIGHUP, instead of ending."""
        self._reload = reload
        keep_running_at(signal.SIGHUP)

        def want(_number: int, _frame: Any) -> None:
            self._reload_wanted = True

        signal.signal(signal.SIGHUP, want)

    def run(self) -> None:
        """Run until the end; raise what ended the only stream, or exit with a code that says how it ended.

        Raises:
            MarEdgeError: if the only stream ended with an error.
            Exit: with 130 if it was interrupted, with 1 if one of several streams ended with an error.
        """
        interrupted = False
        with ExitStack() as stack:
            stack.enter_context(self._terminal)
            if self._windows is not None:
                stack.callback(self._windows.destroy)
            stack.callback(self._tell_unwritten)
            try:
                self._loop()
            except KeyboardInterrupt:
                interrupted = True
            finally:
                self._stop(interrupted)
        if interrupted:
            raise typer.Exit(130)
        self._raise_errors()

    def _loop(self) -> None:
        pause_s = REFRESH_S if self._windows is None else PICTURE_S
        while not self.runner.wait(pause_s):
            self._look()
            if self._windows is not None and not self._windows.draw():
                return
            if self._is_in_vain():
                return
            if self._reload_wanted and self._reload is not None:
                self._reload_wanted = False
                self._reload()

    def _look(self) -> None:
        streams = self.runner.status()
        self._tell_errors(streams)
        if self._lines and any(
            stream.frames for stream in streams
        ):  # not before an error that says that there are none
            for line in self._lines:
                self._terminal.say(line)
            self._lines = []
        self._terminal.draw(streams)

    def _tell_errors(self, streams: Sequence[StreamStatus]) -> None:
        """Tell at once why a stream has ended where others go on, perhaps for weeks."""
        if all(stream.state == "ended" for stream in streams):
            return  # what ended the run is told at its end
        for name, error in self.runner.errors().items():
            if error not in self._told:
                self._told.append(error)
                code = getattr(error, "code", "engine")
                self.runner.notify(Notice(stream=name, code=code, message=f"{name} has ended: {error}"))

    def _is_in_vain(self) -> bool:
        """Return whether an output has failed and nothing is live: files can be read again, when it works."""
        return any(outlet.failure for outlet in self.runner.outlets) and not self.runner.live

    def _stop(self, interrupted: bool) -> None:
        from mar_edge.runtime.streams.runner import STOP_S

        ended = not interrupted and self.runner.wait(0)
        # what files have filled is written, however long it takes; Ctrl-C still ends that
        waiting = threading.Timer(STOP_S, self._tell_waiting)
        waiting.daemon = True
        try:
            if ended and self.runner.recorded:
                waiting.start()
                self.runner.stop(None)
            else:
                self.runner.stop(STOP_S)
        except KeyboardInterrupt:
            self.runner.stop(STOP_S)
            raise typer.Exit(130) from None
        finally:
            waiting.cancel()
        self._look()

    def _tell_waiting(self) -> None:
        """Say what keeps a run from ending."""
        for outlet in self.runner.outlets:
            if count := outlet.unfinished():
                print_line(f"mar-edge: waiting for {outlet.name} to take {counted(count, 'record')}; Ctrl-C ends that")

    def _tell_unwritten(self) -> None:
        for outlet in self.runner.outlets:
            for kind, lost in outlet.lost().items() if outlet not in self._views else ():
                noun = f"{kind} record" if kind == "refused" else kind
                print_line(f"warning: {outlet.name}: {counted(lost, noun, 'was', 'were')} not written")

    def _raise_errors(self) -> None:
        errors = self.runner.errors()
        for failure in (outlet.failure for outlet in self.runner.outlets):
            if failure is not None:
                raise failure
        if not errors:
            return
        if len(self.runner.status()) == 1:
            raise next(iter(errors.values()))
        for error in errors.values():
            print_line(f"mar-edge: {error}")
        raise typer.Exit(1)


def _about(model: Model) -> str:
    variant = model.variant
    return f"{model.spec.name}: {variant.precision} at mask {variant.mask} in {model.engine.name}, {model.reason}"


def _foot(model: Model) -> str:
    variant = model.variant
    return f"{model.engine.name}  mask {variant.mask} %  {variant.precision}  {variant.gmacs:.2f} GMACs"
