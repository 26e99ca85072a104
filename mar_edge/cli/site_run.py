"""`mar-edge run --config site.yaml`: the streams, models and outputs of a site, read again at each SIGHUP."""

from __future__ import annotations

from pathlib import Path

from mar_edge.cli.live_run import LiveRun, StreamPlan
from mar_edge.cli.outputs import add_outputs
from mar_edge.errors import MarEdgeError, OptionError
from mar_edge.runtime.model import Model, load
from mar_edge.runtime.results import Notice
from mar_edge.runtime.streams.feed import Feed
from mar_edge.runtime.streams.recogniser import Recogniser
from mar_edge.runtime.streams.site.parts import ModelPart, StreamPart
from mar_edge.runtime.streams.site.site import Changes, Site, read_site


class SiteRun:
    """Runs a site.

    Args:
        path: the site file.
        show: whether to open windows.
        force: replace files that mar-edge did not write.
        max_s: time after which every stream ends, seconds; None for none.

    Raises:
        MarEdgeError: if the file, a model, a source or an output is invalid.
    """

    def __init__(self, path: Path, *, show: bool, force: bool, max_s: float | None) -> None:
        self._path = path
        self._site = read_site(path)
        self._models: dict[ModelPart, Model] = {}
        self._max_s = max_s
        self._live = LiveRun(
            [self._plan(self._site, stream) for stream in self._site.streams],
            show=show,
            print_events=not self._site.sinks,
        )
        inputs = [path, *(stream.source for stream in self._site.streams if isinstance(stream.source, str))]
        add_outputs(self._live.runner, self._site.sinks, names=self._live.names, inputs=inputs, force=force)

    def run(self) -> None:
        """Run until the end, see `LiveRun.run`."""
        self._live.reload_on_hangup(self.reload)
        self._live.run()

    def reload(self) -> None:
        """Read the file again, and change what differs; a file with errors changes nothing."""
        try:
            site = read_site(self._path)
            changes = self._site.changes(site)
            plans = {stream.name: self._plan(site, stream) for stream in (*changes.added, *changes.changed)}
        except MarEdgeError as error:
            self._tell("site-refused", f"{self._path.name} was read again and refused, nothing is changed: {error}")
            return
        self._site = site
        self._change(changes, plans)
        self._tell("site", f"{self._path.name} was read again: {changes}")
        if changes.sinks:
            self._tell("site", f"{self._path.name}: the outputs change when mar-edge is started again")

    def _change(self, changes: Changes, plans: dict[str, StreamPlan]) -> None:
        runner = self._live.runner
        for name in (*changes.removed, *(stream.name for stream in changes.changed)):
            try:
                runner.remove(name)
            except OptionError:  # it has ended and was removed before
                continue
        for name, plan in plans.items():
            try:
                self._live.add(plan)
            except MarEdgeError as error:
                self._tell("site-refused", f"{self._site.place_of(name)}: stream '{name}' was not added: {error}")

    def _plan(self, site: Site, stream: StreamPart) -> StreamPlan:
        part = site.model_of(stream)
        model = self._models.get(part)
        if model is None:
            try:
                model = load(
                    part.model, engine=part.engine, mask=part.mask, precision=part.precision, threads=part.threads
                )
            except MarEdgeError as error:
                raise type(error)(f"{site.place_of(stream.name)}: {error}") from error
            self._models[part] = model
        options = stream.options()
        try:  # before anything is changed, as by a file that is read again
            Feed(model.spec, hop=options["hop"])
            Recogniser(
                model.engine, **{name: options[name] for name in ("smoothing_s", "rule", "skip_still")}, stream=""
            )
        except OptionError as error:
            raise OptionError(f"{site.place_of(stream.name)}: {error}") from error
        return StreamPlan(
            source=stream.source, model=model, options={**options, "dial": part.dial.options(), "max_s": self._max_s}
        )

    def _tell(self, code: str, message: str) -> None:
        self._live.runner.notify(Notice(stream=self._path.name, code=code, message=message))
