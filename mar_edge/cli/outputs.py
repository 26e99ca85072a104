"""The outputs of `mar-edge run`, whether options or a site file name them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mar_edge.errors import OptionError
from mar_edge.runtime.streams.site.outputs import (
    AnyOutput,
    ClipsOutput,
    JsonOutput,
    MetricsOutput,
    MqttOutput,
    VideoOutput,
    WebhookOutput,
    place_of,
)

if TYPE_CHECKING:
    from mar_edge.runtime.sinks.sink import Sink
    from mar_edge.runtime.streams.runner import Runner

_PARTS = (JsonOutput, MqttOutput, WebhookOutput, MetricsOutput, VideoOutput, ClipsOutput)


def outputs_of_options(**options: tuple[str | None, dict[str, str | None]]) -> list[AnyOutput]:
    """Return the outputs that options name.

    Args:
        **options: by the name of the option without dashes, its value and further keys of the site file for such an output;
            None for what is not given.

    Raises:
        OptionError: if a value is invalid, or two options name one place.
    """
    outputs: list[AnyOutput] = []
    places: dict[tuple[str, str], str] = {}
    for part in _PARTS:
        target, more = options.get(part.tag, (None, {}))
        if target is None:
            continue
        place = place_of(part.tag, target)
        if place in places:
            raise OptionError(f"--{part.tag}: --{places[place]} writes to the same place. Choose another one")
        places[place] = part.tag
        values = {part.tag: target, **{key: value for key, value in more.items() if value is not None}}
        try:
            outputs.append(part.model_validate(values))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            said = first["msg"].removeprefix("Value error, ").removeprefix(f"{part.tag}: ")
            raise OptionError(f"--{part.tag}: {said}") from None  # pydantic's message shows the value, a password too
    return outputs


def add_outputs(
    runner: Runner, outputs: Iterable[AnyOutput], *, names: Collection[str], inputs: Iterable[Any], force: bool
) -> None:
    """Open outputs, and have a runner write to them; it is stopped if one cannot be opened, so that nothing is left of the others.

    Args:
        runner: the runner.
        outputs: what to open.
        names: of the streams.
        inputs: what the command reads, which is never written to.
        force: replace files that mar-edge did not write.

    Raises:
        OutputError: if one cannot be opened.
        OptionError: if a value is invalid.
        MissingExtraError: if one needs a library that is not installed.
    """
    read = [str(one) for one in inputs if one is not None]
    try:
        for output in outputs:
            served = list(names if output.streams is None else output.streams)
            runner.add_sink(_open(output, runner, served, read, force=force), streams=output.streams)
    except BaseException:
        runner.stop()
        raise


def _open(output: AnyOutput, runner: Runner, streams: list[str], inputs: list[str], *, force: bool) -> Sink:
    from mar_edge.runtime.sinks import open as sinks

    if isinstance(output, JsonOutput):
        return sinks.JsonLinesSink(
            output.lines, force=force, rotate_bytes=output.rotate_bytes, keep=output.keep, inputs=inputs
        )
    if isinstance(output, VideoOutput):
        return sinks.Recording(output.video, streams=streams, inputs=inputs, force=force, notify=runner.notify)
    if isinstance(output, ClipsOutput):
        return sinks.EventClips(
            output.clips,
            before_s=output.before_s,
            after_s=output.after_s,
            longest_s=output.longest_s,
            keep_bytes=output.keep_bytes,
            inputs=inputs,
            notify=runner.notify,
        )
    if isinstance(output, MqttOutput):
        return sinks.open_mqtt(output.mqtt, notify=runner.notify)
    if isinstance(output, WebhookOutput):
        return sinks.open_webhook(
            output.webhook,
            secret=output.secret.get_secret_value().encode() if output.secret else None,
            wants=frozenset(output.wants),
            ca=Path(output.ca) if output.ca else None,
            notify=runner.notify,
        )
    return sinks.open_metrics(output.metrics, status=runner.status, outputs=runner.outputs)
