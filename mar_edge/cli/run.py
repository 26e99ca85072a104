"""`mar-edge run`: live recognition of one or many streams."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mar_edge.cli.endings import interrupt_on_signals
from mar_edge.cli.options import (
    EngineOption,
    ForceOption,
    JsonOption,
    MaskOption,
    ModelOption,
    PrecisionOption,
)

if TYPE_CHECKING:
    from mar_edge.runtime.sources.source import Source

CameraOption = Annotated[int | None, typer.Option("--camera", min=0, metavar="N", help="Camera number.")]
SourcesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="URI",
        help="A network camera (rtsp://, http://), a video file, a folder of pictures, a pipe ('-' for stdin), a camera's "
        "device, 'demo', and others; repeat it for several streams.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="SITE.yaml",
        help="Read streams, models and outputs from a file; SIGHUP reads it again. Only with --show, --max-seconds, --force.",
    ),
]
HopOption = Annotated[
    int | None,
    typer.Option(
        "--hop",
        min=1,
        metavar="FRAMES",
        help="Sampled frames between two predictions; a streaming model takes multiples of its time step.",
    ),
]
MirrorOption = Annotated[
    bool,
    typer.Option(
        "--mirror",
        help="Recognise, show and record mirrored pictures: for a camera that faces its user. For every source.",
    ),
]
OnsetOption = Annotated[
    float | None,
    typer.Option(
        "--onset",
        metavar="SCORE",
        help="Score at which an event begins, above 0 to 1; default: the model's own, or 0.6.",
    ),
]
OffsetOption = Annotated[
    float | None,
    typer.Option(
        "--offset",
        metavar="SCORE",
        help="Score below which it ends, at most the onset; default: the model's own, or 0.4.",
    ),
]
MinDurationOption = Annotated[
    float | None,
    typer.Option(
        "--min-duration", metavar="S", help="Seconds that an event must last; default: the model's own, or 0.5."
    ),
]
CooldownOption = Annotated[
    float | None,
    typer.Option(
        "--cooldown",
        metavar="S",
        help="Seconds after an event in which none of its class begins; default: the model's own, or 0.",
    ),
]
SmoothingOption = Annotated[
    float | None,
    typer.Option(
        "--smoothing",
        metavar="S",
        help="Time constant of the average of scores, seconds, 0 for none; default: the model's own, or 0.3.",
    ),
]
SkipStillOption = Annotated[
    float | None,
    typer.Option(
        "--skip-still",
        metavar="LEVEL",
        help="A streaming model repeats its answer while nothing changes by more than this many grey levels, such as 2.",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget-ms", metavar="MS", help="Take a higher mask where an inference takes longer than this."),
]
MaxCpuOption = Annotated[
    float | None,
    typer.Option("--max-cpu", metavar="PERCENT", help="Take a higher mask where the machine's cores are busier."),
]
MaxTemperatureOption = Annotated[
    float | None,
    typer.Option("--max-temperature", metavar="CELSIUS", help="Take a higher mask where a chip is hotter than this."),
]
SaveBatteryOption = Annotated[
    bool, typer.Option("--save-battery", help="Take the highest mask while the device lives on its battery.")
]
MaxSecondsOption = Annotated[
    float | None, typer.Option("--max-seconds", min=0, metavar="S", help="Stop after this many seconds.")
]
RealtimeOption = Annotated[
    bool, typer.Option("--realtime", help="Play files as if they were live, with all that is dropped then.")
]
MaxAgeOption = Annotated[
    float, typer.Option("--max-age-ms", min=1, metavar="MS", help="Skip live windows that are older than this.")
]
MaxRetriesOption = Annotated[
    int | None,
    typer.Option(
        "--max-retries",
        min=0,
        metavar="N",
        help="Failed attempts in a row after which a live source is given up; default: never.",
    ),
]
StdinFormatOption = Annotated[
    str | None,
    typer.Option(
        "--stdin-format",
        metavar="PIXELS:WxH:FPS",
        help="Read uncompressed frames from stdin, such as rgb24:640x480:30; with --source -.",
    ),
]
JsonRotateOption = Annotated[
    str | None,
    typer.Option(
        "--json-rotate", metavar="SIZE", help="Begin a new file at this size, such as 100MB; keep five older ones."
    ),
]
VideoOption = Annotated[
    str | None,
    typer.Option(
        "--video", metavar="OUT.mp4", help="Record the streams with their labels; {stream} stands for the name."
    ),
]
ClipsOption = Annotated[
    str | None, typer.Option("--clips", metavar="FOLDER", help="Record each event, from 3 s before to 2 s after it.")
]
ClipsKeepOption = Annotated[
    str | None,
    typer.Option("--clips-keep", metavar="SIZE", help="Remove the oldest clips once all take more, such as 10GB."),
]
MqttOption = Annotated[
    str | None,
    typer.Option(
        "--mqtt", metavar="URL", help="Publish to a broker: mqtt://HOST/TOPIC or mqtts://; see the docs on outputs."
    ),
]
WebhookOption = Annotated[
    str | None, typer.Option("--webhook", metavar="URL", help="Post events and warnings as JSON to a web server.")
]
MetricsOption = Annotated[
    str | None, typer.Option("--metrics", metavar="HOST:PORT", help="Serve /metrics for Prometheus.")
]
ShowOption = Annotated[bool, typer.Option("--show", help="Open a window with the picture and the labels.")]


def run(
    camera: CameraOption = None,
    source: SourcesOption = None,
    config: ConfigOption = None,
    model: ModelOption = "egomotion",
    engine: EngineOption = "auto",
    mask: MaskOption = "auto",
    precision: PrecisionOption = "auto",
    hop: HopOption = None,
    mirror: MirrorOption = False,
    onset: OnsetOption = None,
    offset: OffsetOption = None,
    min_duration: MinDurationOption = None,
    cooldown: CooldownOption = None,
    smoothing: SmoothingOption = None,
    skip_still: SkipStillOption = None,
    budget_ms: BudgetOption = None,
    max_cpu: MaxCpuOption = None,
    max_temperature: MaxTemperatureOption = None,
    save_battery: SaveBatteryOption = False,
    max_seconds: MaxSecondsOption = None,
    realtime: RealtimeOption = False,
    max_age_ms: MaxAgeOption = 500.0,
    max_retries: MaxRetriesOption = None,
    stdin_format: StdinFormatOption = None,
    json: JsonOption = None,
    json_rotate: JsonRotateOption = None,
    video: VideoOption = None,
    clips: ClipsOption = None,
    clips_keep: ClipsKeepOption = None,
    mqtt: MqttOption = None,
    webhook: WebhookOption = None,
    metrics: MetricsOption = None,
    force: ForceOption = False,
    show: ShowOption = False,
) -> None:
    """Recognise actions in cameras, files or the demo, until they end or you press Ctrl-C."""
    given = dict(locals())
    _check_usage(given)
    interrupt_on_signals()  # a stop by a service manager and a closed terminal end it as cleanly as Ctrl-C
    if config is not None:
        return _run_site(config, show=show, force=force, max_s=max_seconds)
    from mar_edge.cli.live_run import LiveRun, StreamPlan
    from mar_edge.cli.options import load_model
    from mar_edge.cli.outputs import add_outputs, outputs_of_options

    outputs = outputs_of_options(
        json=(json, {"rotate": json_rotate}), video=(video, {}), clips=(clips, {"keep": clips_keep}),
        mqtt=(mqtt, {}), webhook=(webhook, {}), metrics=(metrics, {}),
    )  # fmt: skip
    sources = [*([] if camera is None else [camera]), *(_open_raw(source or [], stdin_format))]
    loaded = load_model(model, engine, mask, precision)
    plans = [StreamPlan(source=one, model=loaded, options=_stream_options(given)) for one in sources]
    live = LiveRun(plans, show=show, print_events=json is None)
    add_outputs(live.runner, outputs, names=live.names, inputs=[*(source or []), model], force=force)
    live.run()


def _run_site(config: Path, *, show: bool, force: bool, max_s: float | None) -> None:
    from mar_edge.cli.site_run import SiteRun

    SiteRun(config, show=show, force=force, max_s=max_s).run()


def _stream_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of `Runner.add`.

    Args:
        given: the value of every option.

    Raises:
        OptionError: if what is said of events makes no sense.
    """
    from mar_edge.runtime.streams.event_rule import EventRule
    from mar_edge.runtime.streams.saving.dial import DialOptions

    dial = DialOptions(
        budget_ms=given["budget_ms"],
        max_cpu=given["max_cpu"],
        battery=given["save_battery"],
        max_temperature_c=given["max_temperature"],
    )
    rule = EventRule(
        onset=given["onset"],
        offset=given["offset"],
        min_duration_s=given["min_duration"],
        cooldown_s=given["cooldown"],
    )
    return {
        "hop": given["hop"],
        "max_s": given["max_seconds"],
        "realtime": given["realtime"],
        "max_age_s": given["max_age_ms"] / 1000,
        "max_retries": given["max_retries"],
        "skip_still": given["skip_still"],
        "mirror": given["mirror"],
        "smoothing_s": given["smoothing"],
        "rule": rule,
        "dial": dial if dial.limited else None,
    }


def _check_usage(given: dict[str, Any]) -> None:
    """Check that exactly one option says what is recognised, and that options which belong together are together.

    Args:
        given: the value of every option.

    Raises:
        BadParameter: if none or several do, or a site file stands beside options that it has itself, or an option has no use.
    """
    if sum((given["camera"] is not None, bool(given["source"]), given["config"] is not None)) != 1:
        raise typer.BadParameter(
            "give either --camera N, --source URI or --config SITE.yaml", param_hint="--camera / --source / --config"
        )
    if (given["source"] or []).count("-") > 1:
        raise typer.BadParameter("standard input can be read by one stream only", param_hint="--source -")
    for name, needed in (("json_rotate", "json"), ("clips_keep", "clips")):
        if given[name] is not None and given[needed] is None and given["config"] is None:
            raise typer.BadParameter(f"it is for --{needed}; give that, too", param_hint=f"--{name.replace('_', '-')}")
    if given["config"] is None:
        return
    for name, option in signature(run).parameters.items():
        if name not in ("config", "show", "max_seconds", "force") and given[name] != option.default:
            shown = f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"{shown} is a matter of the site file; leave it out", param_hint="--config")


def _open_raw(sources: list[str], stdin_format: str | None) -> list[str | Source]:
    """Return the sources; standard input is opened if its format is given.

    Raises:
        SourceError: if the format is invalid, or nothing is read from standard input.
    """
    if stdin_format is None:
        return list(sources)
    from mar_edge.runtime.sources.open import open_source

    if "-" not in sources:
        open_source(next(iter(sources), ""), stdin_format=stdin_format)  # which says why it does not fit
    return [open_source(one, stdin_format=stdin_format) if one == "-" else one for one in sources]
