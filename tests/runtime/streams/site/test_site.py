"""The site file: what it says, everything that is wrong in it at once, and what changed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mar_edge.bundle import open_bundle
from mar_edge.cli.site_run import SiteRun
from mar_edge.errors import MarEdgeError, OptionError
from mar_edge.files.yaml_part import fields_of
from mar_edge.files.yaml_problems import all_keys, parts_in
from mar_edge.runtime.engines.registry import ENGINES
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Prediction, StreamStatus
from mar_edge.runtime.streams.decision import Decision
from mar_edge.runtime.streams.event_rule import ClassRule, EventRule
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.saving.dial import DialOptions
from mar_edge.runtime.streams.site.outputs import (
    KINDS,
    ClipsOutput,
    JsonOutput,
    MqttOutput,
    WebhookOutput,
)
from mar_edge.runtime.streams.site.parts import EventsPart, ModelPart
from mar_edge.runtime.streams.site.site import SITE_BYTES, Site, read_site
from tests.conftest import ROOT
from tests.fakes.bundle import BrightnessEngine

GOOD = """\
version: 1
models:
  moves: {model: egomotion, threads: 1}
streams:
  - name: gate
    source: rtsp://admin:hunter2@camera1/stream
    model: moves
    hop: 4
    events: {onset: 0.7, classes: {pan_left: {onset: 0.9}}}
  - name: yard
    source: 0
sinks:
  - json: out.jsonl
    rotate: 100MB
  - mqtt: mqtt://admin:hunter2@broker/mar-edge
    streams: [gate]
"""


def read(folder: Path, text: str) -> Site:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return read_site(path)


def refused(folder: Path, text: str) -> list[str]:
    """Return the problems without the folder's name."""
    with pytest.raises(OptionError) as error:
        read(folder, text)
    message = str(error.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message.replace(f"{folder}/", "").split("; site.yaml:")


def test_a_model_has_a_dial_and_a_stream_may_skip_still_steps(tmp_path: Path) -> None:
    dial = "{budget_ms: 20, max_cpu: 80, max_temperature_c: 85, save_battery: true}"
    text = GOOD.replace("threads: 1}", f"threads: 1, dial: {dial}}}").replace("    hop: 4\n", "    skip_still: 2\n")
    site = read(tmp_path, text)
    gate, yard = site.streams
    wanted = DialOptions(budget_ms=20, max_cpu=80, max_temperature_c=85, battery=True)
    assert site.model_of(gate).dial.options() == wanted
    assert site.model_of(yard).dial.options() is None
    assert (gate.options()["skip_still"], yard.options()["skip_still"]) == (2, None)
    assert site.changes(read(tmp_path, text.replace("budget_ms: 20", "budget_ms: 30"))).changed[0].name == "gate"
    (problem,) = refused(tmp_path, text.replace("max_cpu: 80", "max_cpu: 120"))
    assert "max_cpu" in problem and "100" in problem


def test_a_stream_may_be_mirrored_and_its_thresholds_are_checked_against_those_of_its_model(tmp_path: Path) -> None:
    site = read(tmp_path, GOOD.replace("    hop: 4\n", "    mirror: true\n"))
    assert [stream.options()["mirror"] for stream in site.streams] == [True, False]
    site_file = tmp_path / "site.yaml"
    site_file.write_text("streams:\n  - {name: gate, source: demo, events: {onset: 0.3}}\n")
    with pytest.raises(
        OptionError, match=r"site.yaml:2: offset: offset 0.4 is above onset 0.3.*egomotion has onset 0.6"
    ):
        SiteRun(site_file, show=False, force=False, max_s=1)


def test_a_site_is_what_the_file_says(tmp_path: Path) -> None:
    site = read(tmp_path, GOOD)
    gate, yard = site.streams
    assert (gate.name, gate.source, gate.hop, yard.source) == ("gate", "rtsp://admin:hunter2@camera1/stream", 4, 0)
    assert site.model_of(gate) == ModelPart(model="egomotion", threads=1)
    assert site.model_of(yard) == ModelPart(model="egomotion")
    assert len({site.model_of(gate), site.model_of(yard)}) == 2  # a key for what is loaded
    assert gate.options() == {
        "name": "gate",
        "hop": 4,
        "skip_still": None,
        "smoothing_s": None,
        "mirror": False,
        "rule": EventRule(onset=0.7, classes={"pan_left": ClassRule(onset=0.9)}),
        "max_age_s": 0.5,
        "max_retries": None,
        "stall_s": 5.0,
        "realtime": False,
    }
    lines, broker = site.sinks
    assert isinstance(lines, JsonOutput) and isinstance(broker, MqttOutput)
    assert (lines.tag, lines.lines, lines.rotate_bytes, lines.keep, lines.streams) == (
        "json",
        "out.jsonl",
        10**8,
        5,
        None,
    )
    assert (broker.mqtt, broker.streams) == ("mqtt://admin:hunter2@broker/mar-edge", ["gate"])
    assert (site.place_of("gate"), site.place_of("yard")) == (f"{tmp_path}/site.yaml:5", f"{tmp_path}/site.yaml:10")


def test_defaults_are_those_of_the_library() -> None:
    assert EventsPart().rule() == EventRule()
    assert get_args(ModelPart.model_fields["engine"].annotation) == ENGINES


def test_all_outputs_are_known(tmp_path: Path) -> None:
    site = read(
        tmp_path,
        """\
streams: [{name: a, source: demo}]
sinks:
  - json: "-"
  - mqtt: mqtts://broker
  - webhook: https://receiver/path
    secret: hunter2
    wants: [event]
  - metrics: "[::1]:9464"
  - video: "{stream}-{time}.mp4"
  - {clips: folder, before_s: 1, keep: 10GB}
""",
    )
    assert tuple(sink.tag for sink in site.sinks) == KINDS
    webhook, clips = site.sinks[2], site.sinks[5]
    assert isinstance(webhook, WebhookOutput) and isinstance(clips, ClipsOutput)
    assert webhook.secret is not None and webhook.secret.get_secret_value() == "hunter2"
    assert (webhook.wants, clips.keep_bytes) == (("event",), 10**10)
    assert "hunter2" not in repr(site)


def test_a_site_shows_no_secret_when_printed(tmp_path: Path) -> None:
    assert "hunter2" not in f"{read(tmp_path, GOOD)!r} {read(tmp_path, GOOD)}"


def test_the_example_reads_and_its_classes_are_those_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CAMERA_PASSWORD", "MQTT_USER", "MQTT_PASSWORD"):
        monkeypatch.setenv(name, "one")
    site = read_site(shutil.copy(ROOT / "runtime" / "site.yaml", tmp_path))
    assert site.streams[0].source == "rtsp://edge:one@192.0.2.10/stream1"
    for stream in site.streams:
        spec = open_bundle(site.model_of(stream).model).manifest
        Decision(spec, stream=stream.name, smoothing_s=stream.smoothing_s, rule=stream.events.rule())


def test_every_problem_is_reported_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        """\
models:
  moves: {model: egomotoin, mask: 40}
streams:
  - name: gate
    source: demo
    model: mvoes
    hopp: 4
    events: {onset: 0.3, offset: 0.4, cooldown_s: -1, classes: {pan.left: {onset: 0.1}}}
  - name: gate
    source: demo
    smoothing_s: [1]
    smoothing_s: -1
sinks:
  - json: out.jsonl
    rotate: 100XB
    streams: [gaet]
  - json: out.jsonl
  - webhok: https://receiver
  - mqtt: ${NOBODY_SETS_THIS}
""",
    ) == [
        "site.yaml:2: models.moves.model: unknown model 'egomotoin'; did you mean 'egomotion'?; built in egomotion, egomotion_window, gestures",
        "2: models.moves.mask: 40 is not one of auto, 0, 25, 50, 75",
        "6: streams[0].model: unknown model 'mvoes'; did you mean 'moves'?; in this file moves; built in egomotion, egomotion_window, gestures",
        "7: unknown key 'streams[0].hopp'; did you mean 'streams[0].hop'?",
        "8: streams[0].events.offset: offset 0.4 is above onset 0.3; an event would end where it begins",
        "8: streams[0].events.classes.pan.left.onset: offset 0.4 is above onset 0.1; an event would end where it begins",
        "8: streams[0].events.cooldown_s: expected a number at least 0, not -1",
        "9: streams[1].name: the stream in line 4 has the name 'gate', too; choose another one",
        "12: streams[1].smoothing_s: is already in line 11; keep one of the two",
        "15: sinks[0].rotate: '100XB' is not a size; give a number with a unit, such as 100MB or 10GB",
        "16: sinks[0].streams[0]: there is no stream 'gaet'; did you mean 'gate'?",
        "17: sinks[1].json: line 14 writes to the same place; make one entry of the two",
        "18: sinks[2].webhok: is not an output; the outputs are json, mqtt, webhook, metrics, video, clips; did you mean 'webhook'?",
        "19: sinks[3].mqtt: the environment variable NOBODY_SETS_THIS is not set. Set it before mar-edge starts",
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("version: 1", "version: 2", "1: version: 2 is not one of 1"),
        ("version: 1", "vresion: 1", "1: unknown key 'vresion'; did you mean 'version'?"),
        ("streams:\n  - name: gate", "strems:\n  - name: gate", "streams is missing"),
        ("    source: 0", "    source: 0\n    threads: 2", "12: unknown key 'streams[1].threads'; did you mean 'models.threads'?"),
        ("    source: 0", "    source: -1", "11: streams[1].source: expected a number at least 0 or text, not -1"),
        ("    source: 0", "    source: yes", "11: streams[1].source: expected an integer or text, not True"),
        ("    source: 0", "    source: ''", "11: streams[1].source: expected an integer or text, not ''"),
        ("    source: 0", "    hop: 3", "10: streams[1].source is missing"),
        ("    source: 0", "    source: demo:fsp=3", "11: streams[1].source: demo has no option 'fsp'"),
        ("    source: 0", "    source: rstp://u:hunter2@h/x", "11: streams[1].source: rstp is not supported (did you mean 'rtsp'?): rstp://***@h/x"),
        ("    source: 0", "    source: 1000", "11: streams[1].source: no camera 1000"),
        ("json: out.jsonl\n    rotate: 100MB", "json: out.jsonl\n    rotate: 100", "14: sinks[0].rotate: '100' is not a size"),
        ("json: out.jsonl\n    rotate: 100MB", "json: out.mp4\n  - video: ./out.mp4", "14: sinks[1].video: line 13 writes to the same place; choose another one"),
        ("json: out.jsonl\n    rotate: 100MB", "json: out.jsonl\n  - json: x/../out.jsonl", "14: sinks[1].json: line 13 writes to the same place; make one"),
        ("name: yard", "name: a/b", "10: streams[1].name: a name begins with a letter or digit"),
        ("name: yard", "name: ..", "10: streams[1].name: a name begins with a letter or digit"),
        ("name: yard", "name: 2024", "10: streams[1].name: expected text, not 2024; put it in quotes"),
        ("hop: 4", "hop: 0", "8: streams[0].hop: expected a number at least 1, not 0"),
        ("hop: 4", "max_age_ms: 0", "8: streams[0].max_age_ms: expected a number above 0, not 0"),
        ("hop: 4", "max_retries: -1", "8: streams[0].max_retries: expected a number at least 0, not -1"),
        ("hop: 4", "realtime: maybe", "8: streams[0].realtime: expected true or false, not 'maybe'"),
        ("pan_left: {onset: 0.9}", "pan_left: {onste: 0.9}", "9: unknown key 'streams[0].events.classes.pan_left.onste'; did you mean"),
        ("pan_left: {onset: 0.9}", "pan.left: {onset: 2}", "9: streams[0].events.classes.pan.left.onset: expected a number at most 1"),
        ("pan_left: {onset: 0.9}", "pan_left: {offset: 0.9}", "9: streams[0].events.classes.pan_left.offset: offset 0.9 is above onset 0.7"),
        ("pan_left: {onset: 0.9}", "3: {onset: 0.9}", "9: the key streams[0].events.classes[3] is not text; put it in quotes"),
        ("pan_left: {onset: 0.9}", "pan_left: 0.9", "9: streams[0].events.classes.pan_left: expected keys and values, not 0.9"),
        ("{onset: 0.7", "{unknown_score: 0.9, onset: 0.7", "9: streams[0].events.unknown_score: 0.9 is above onset 0.7"),
        ("model: egomotion,", "model: ./none.mar,", "3: models.moves.model: unknown model './none.mar'"),
        ("rotate: 100MB", "rotate: 100MB\n    video: a.mp4", "15: sinks[0].video: is another output; write it as an entry of its own, '- video: ...'"),
        ("json: out.jsonl", "json: '-'", "14: sinks[0].rotate: stdout cannot be rotated"),
        ("mqtt: mqtt://", "mqtt: http://", "15: sinks[1].mqtt: expected an address that begins with mqtt:// or mqtts://"),
        ("mqtt: mqtt://", "webhook: mqtt://", "15: sinks[1].webhook: expected an address that begins with http:// or https://"),
        ("json: out.jsonl\n    rotate: 100MB", "metrics: 9464", "13: sinks[0].metrics: expected text, not 9464; put it in quotes"),
        ("json: out.jsonl\n    rotate: 100MB", "metrics: localhost:99999", "13: sinks[0].metrics: expected HOST:PORT"),
        ("json: out.jsonl\n    rotate: 100MB", "video: out.avi", "13: sinks[0].video: expected a file that ends with .mp4"),
        ("json: out.jsonl\n    rotate: 100MB", "video: '{strem}.mp4'", "13: sinks[0].video: '{strem}' is neither {stream} nor {time}"),
        ("json: out.jsonl\n    rotate: 100MB", "{clips: a, keep: many}", "13: sinks[0].keep: 'many' is not a size"),
        ("json: out.jsonl\n    rotate: 100MB", "{clips: a, longest_s: 2}", "13: sinks[0].longest_s: a clip must be longer than before_s"),
        ("json: out.jsonl\n    rotate: 100MB", "json", "13: sinks[0]: expected one of json, mqtt, webhook, metrics, video, clips with where"),
        ("json: out.jsonl\n    rotate: 100MB", "{}", "13: sinks[0]: is empty"),
        ("streams: [gate]", "streams: []", "16: sinks[1].streams: expected at least 1 entry, not an empty list"),
        ("sinks:", "3: 4\nsinks:", "12: the key [3] is not text; put it in quotes"),
    ],
)  # fmt: skip
def test_a_problem_names_the_line_the_key_and_the_nearest_one(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    assert says in " | ".join(refused(tmp_path, GOOD.replace(old, new))).replace("site.yaml:", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is not a site file: expected keys and values, got nothing"),
        (b"# only this\n", "got nothing"),
        (b"- a\n", "got a list"),
        (b"just text", "got a text"),
        (b"streams: [a\n", "site.yaml:2: not valid YAML"),
        (b"streams:\n\t- a\n", "site.yaml:2: not valid YAML: found character"),
        (b"\xff\xfe\x00", "it is not YAML text"),
        (b"\x00", "site.yaml:?.*not valid YAML"),
        (b"a: *nobody\n", "site.yaml:1: not valid YAML: found undefined alias"),
        (b"a: &a [*a]\n", "nested deeper than|recursive"),
        (b"[" * 5000, "nested|not valid YAML"),
        (b"a: " + b"[" * 40 + b"]" * 40, "nested too deeply for a site file"),
        (
            b"\n".join(b"k%d: &k%d [%s]" % (n, n, b", ".join([b"*k%d" % (n - 1)] * 10 if n else [b"x"])) for n in range(9)),
            "more than 100000 values",
        ),
        (b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"# " + b"x" * SITE_BYTES, "larger than 1 MB"),
    ],
)  # fmt: skip
def test_what_is_no_site_file(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(text)
    with pytest.raises(OptionError, match=says):
        read_site(path)


def test_standard_input_is_read_by_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mar_edge.runtime.streams.site.between_parts.open_source", lambda source: source)
    assert refused(tmp_path, "streams:\n  - {name: a, source: '-'}\n  - {name: b, source: '-'}\n") == [
        "site.yaml:3: streams[1].source: the stream in line 2 reads standard input, too; only one can"
    ]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot read the site file .*none.yaml: No such file"):
        read_site(tmp_path / "none.yaml")
    with pytest.raises(OptionError, match="it is a folder, not a file"):
        read_site(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OptionError, match="named pipe"):
        read_site(tmp_path / "pipe")


def test_anchors_may_be_used(tmp_path: Path) -> None:
    site = read(
        tmp_path,
        """\
streams:
  - {name: a, source: demo, events: &rule {onset: 0.9}}
  - {name: b, source: demo, events: *rule}
  - {name: c, source: demo, events: {<<: *rule, cooldown_s: 3}}
""",
    )
    assert [stream.events.onset for stream in site.streams] == [0.9] * 3
    assert site.streams[2].events.cooldown_s == 3


def test_variables_are_inserted_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA", "camera1")
    monkeypatch.setenv("SECRET", "${CAMERA} $x: {y}")
    monkeypatch.setenv("HOP", "3")
    site = read(
        tmp_path,
        """\
streams:
  - {name: a, source: "rtsp://u:${SECRET}@${CAMERA}/$${x}", hop: "${HOP}"}
""",
    )
    assert site.streams[0].source == "rtsp://u:${CAMERA} $x: {y}@camera1/${x}"
    assert site.streams[0].hop == 3


def test_no_value_of_a_variable_and_no_address_is_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("EMPTY", "")
    problems = refused(
        tmp_path,
        """\
streams:
  - {name: "${SECRET}/", source: {"rtsp://u:hunter2@x": 1}, hop: "${SECRET}", realtime: "rtsp://u:hunter2@x"}
  - {name: b, source: "${EMPTY}", max_age_ms: "${}", stall_s: "${SECRET"}
  - {name: c, source: rtsp://u:hunter2@x, smoothing_s: [hunter2], hopp: hunter2}
sinks:
  - mqtt: http://u:hunter2@x
  - webhook: ftp://u:hunter2@x
    secret: 12345
  - metrics: u:hunter2@x
  - {json: out, rotate: 5 MB, streams: hunter2@x}
""",
    )
    assert not re.search("hunter2|12345", " ".join(problems))
    assert "3: streams[1].source: the environment variable EMPTY is empty. Set it before mar-edge starts" in problems
    assert (
        "3: streams[1].stall_s: ${ begins a variable; write ${NAME}, or $${ for the characters themselves" in problems
    )
    assert "2: streams[0].hop: expected an integer, not '${SECRET}'" in problems
    assert "2: streams[0].realtime: expected true or false, not an address" in problems
    assert "8: sinks[1].secret: expected text, not this; put it in quotes" in problems


def test_changes_name_what_was_added_removed_and_changed(tmp_path: Path) -> None:
    old = read(tmp_path, GOOD)
    assert not old.changes(read(tmp_path, GOOD))
    assert str(old.changes(old)) == "nothing changed"

    def changes(before: str, after: str) -> str:
        assert before in GOOD
        return str(old.changes(read(tmp_path, GOOD.replace(before, after))))

    assert changes("name: yard", "name: court") == "1 stream added (court), 1 stream removed (yard)"
    assert changes("source: 0", "source: 1") == "1 stream changed (yard)"
    assert changes("hop: 4", "hop: 5") == "1 stream changed (gate)"
    assert changes("onset: 0.9", "onset: 0.8") == "1 stream changed (gate)"
    assert changes("threads: 1", "threads: 2") == "1 stream changed (gate)"
    assert changes("hunter2@camera1", "hunter3@camera1") == "1 stream changed (gate)"
    assert changes("rotate: 100MB", "rotate: 1GB") == "outputs differ"
    found = old.changes(read(tmp_path, GOOD.replace("hop: 4", "hop: 5").replace("name: yard", "name: court")))
    assert ([one.name for one in found.added], found.removed, [one.hop for one in found.changed]) == (
        ["court"],
        ("yard",),
        [5],
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("source: 0", "source: 0\n    hop: null\n    smoothing_s: null"),  # the defaults, written
        ("moves", "camera"),  # another name of the same model
        ("version: 1\n", "# a comment\n"),
        ("    model: moves\n    hop: 4\n", "    hop: 4\n    model: moves\n"),
    ],
)
def test_what_changes_nothing(tmp_path: Path, before: str, after: str) -> None:
    assert before in GOOD
    assert not read(tmp_path, GOOD).changes(read(tmp_path, GOOD.replace(before, after)))


def test_the_order_of_streams_changes_nothing(tmp_path: Path) -> None:
    values = yaml.safe_load(GOOD)
    values["streams"].reverse()
    assert not read(tmp_path, GOOD).changes(read(tmp_path, yaml.safe_dump(values)))


def test_a_change_of_a_variable_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "streams: [{name: a, source: '${SOURCE}'}]"
    monkeypatch.setenv("SOURCE", "demo")
    old = read(tmp_path, text)
    monkeypatch.setenv("SOURCE", "0")
    assert str(old.changes(read(tmp_path, text))) == "1 stream changed (a)"


def _paths(values: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [path for key, inner in inside for path in ((*above, key), *_paths(inner, (*above, key)))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(_paths(yaml.safe_load(GOOD))),
    st.sampled_from([None, True, -1, 1e400, 10**12, "", "x" * 5000, "\x07", [], [[1]], {}, {"a": {"b": 1}}, {1: 2}]),
)
def test_a_wrong_value_anywhere_is_a_problem_with_its_line_or_fits(
    tmp_path: Path, path: tuple[Any, ...], value: Any
) -> None:
    values = yaml.safe_load(GOOD)
    inside = values
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(values))
    try:
        read_site(tmp_path / "site.yaml")
    except MarEdgeError as error:
        assert re.match(rf"({tmp_path}/site\.yaml(:\d+)?: |cannot read the site file )", str(error))
        assert "hunter2" not in str(error)


def test_every_key_is_in_the_reference_with_its_meaning() -> None:
    page = (ROOT / "docs" / "reference" / "site.md").read_text(encoding="utf-8")
    for keys in all_keys(Site):
        assert re.search(rf"^\| `{keys[-1]}` \| .* \| .*\w.* \|$", page, re.M), keys
    outputs = parts_in(Site.model_fields["sinks"].annotation)
    assert [part.tag for part in outputs] == list(KINDS)
    assert all(next(key for key in fields_of(part) if key != "streams") == part.tag for part in outputs)


def test_the_streams_of_a_site_run_on_a_runner(tmp_path: Path) -> None:
    site = read(
        tmp_path,
        """\
streams:
  - {name: gate, source: "demo:size=64x48,loops=1,realtime=no", events: {min_duration_s: 0, classes: {bright: {onset: 0.9}}}}
  - {name: yard, source: "demo:size=64x48,loops=1,realtime=no", hop: 4}
""",
    )
    model = Model(BrightnessEngine(tmp_path / "fake.mar"))
    with Runner() as runner:
        for stream in site.streams:
            runner.add(stream.source, model, **stream.options())
        records = list(runner)
    hops = {
        stream.name: [one.frame for one in records if isinstance(one, Prediction) and one.stream == stream.name]
        for stream in site.streams
    }
    assert {one.stream for one in records if isinstance(one, StreamStatus) and one.state == "ended"} == {"gate", "yard"}
    assert len(hops["gate"]) > 3 * len(hops["yard"]) > 3
