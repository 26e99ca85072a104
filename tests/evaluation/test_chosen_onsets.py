"""Onsets that were chosen on clips are written into a bundle, which is otherwise the same, and every stream goes by them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mar_edge
from mar_edge.bundle import BUILTIN, Bundle, open_bundle
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.errors import BundleError, OutputError
from mar_edge.evaluation.chosen_onsets import check_target, onsets_of, remarks_on_data, set_onsets
from mar_edge.evaluation.detection import Detection, detect
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.manifest import FORMAT, digest_of
from mar_edge.runtime.model import Model
from mar_edge.runtime.streams.event_rule import EventRule
from tests.fakes.bundle import LABELS, BrightnessEngine
from tests.fakes.command_line import mar_edge as run
from tests.fakes.video_files import write_moving, write_video

MADE = {"command": "mar-edge evaluate", "data": "val.csv", "data_digest": "abc"}
CLIPS = [("light", [0.1, 0.8, 0.1]), ("light", [0.3, 0.5, 0.2]), ("dark", [0.3, 0.4, 0.3]), ("bright", [0.05, 0, 0.95])]


def model(folder: Path, **changes: Any) -> Model:
    """Return a model of the classes dark (idle), light and bright, in a bundle."""
    return Model(BrightnessEngine(folder, **changes))


def judged(of: Model, false_alarms: float | None = 0.0, clips: list[tuple[str, list[float]]] = CLIPS) -> Detection:
    evaluation = Evaluation(
        labels=tuple(LABELS),
        scores=np.array([scores for _, scores in clips], np.float32),
        targets=np.array([LABELS.index(label) for label, _ in clips]),
        names=tuple(map(str, range(len(clips)))),
    )
    return detect(evaluation, idle_label="dark", onsets=onsets_of(of), false_alarms=false_alarms)


def test_streams_go_by_the_onsets_and_all_else_stays(tmp_path: Path) -> None:
    events = {"offset": 0.5, "cooldown_s": 2.0, "classes": {"bright": {"onset": 0.9, "offset": 0.2}}}
    fake = model(tmp_path / "fake.mar", events=events, provenance={"command": "mar-edge train"})
    before = open_bundle(tmp_path / "fake.mar").manifest
    assert onsets_of(fake) == {"light": 0.6, "bright": 0.9}
    said = set_onsets(fake, judged(fake), MADE)
    # light: between 0.4, which is dark's, and 0.5; bright: between a guess and 0.95
    assert said == ["light: onset 0.45, offset 0.3", "bright: onset 0.64"]
    after = open_bundle(tmp_path / "fake.mar").manifest
    rule = EventRule().applied_to(after)
    assert [(rule.onset_of(label), rule.offset_of(label)) for label in LABELS[1:]] == [(0.45, 0.3), (0.64, 0.2)]
    assert (rule.cooldown_s, rule.offset_of("dark")) == (2.0, 0.5)
    told = after.provenance.pop("chosen_onsets")
    same = {"events": before.events, "format": before.format}
    assert after.model_copy(update=same) == before
    assert (told["data"], told["wanted_false_alarms"], told["mask"], told["precision"]) == ("val.csv", 0, 50, "fp32")
    assert (told["classes"]["light"]["found"], told["classes"]["light"]["false"]) == (2, 0)
    assert [path.name for path in (tmp_path / "fake.mar").iterdir() if path.suffix != ".onnx"] == ["manifest.json"]
    # what the user says still goes first
    assert EventRule(onset=0.7).applied_to(after).onset_of("light") == 0.7


def test_older_bundles_can_be_given_onsets(tmp_path: Path) -> None:
    fake = model(tmp_path / "old.mar")
    file = tmp_path / "old.mar" / "manifest.json"
    values = {key: value for key, value in json.loads(file.read_text()).items() if key not in ("schema", "sha256")}
    file.write_text(json.dumps({**values, "format": 2, "sha256": digest_of(values)}))
    assert open_bundle(tmp_path / "old.mar").manifest.format == 2
    set_onsets(fake, judged(fake), MADE)
    new = open_bundle(tmp_path / "old.mar").manifest
    assert new.format == FORMAT and EventRule().applied_to(new).onset_of("light") == 0.45


def test_a_class_without_an_onset_keeps_its_own(tmp_path: Path) -> None:
    fake = model(tmp_path / "fake.mar")
    clips = [*CLIPS[:3], ("bright", [0, 0.9, 0.1])]  # bright is never the best
    assert set_onsets(fake, judged(fake, 0.6, clips), MADE)[0].startswith("light: onset 0.")
    assert onsets_of(Model(_reopened(fake)))["bright"] == 0.6
    nothing = [("dark", [0.1, 0.8, 0.1]), ("light", [0.9, 0.1, 0]), ("bright", [0.9, 0, 0.1])]
    with pytest.raises(OutputError, match="stays as it is: .* Give a larger --false-alarms"):
        set_onsets(fake, judged(fake, 0.4, nothing), MADE)


def _reopened(fake: Model) -> BrightnessEngine:
    engine = fake.engine
    assert isinstance(engine, BrightnessEngine)
    engine.spec = open_bundle(engine.path.parent).manifest
    return engine


def test_models_that_get_no_onsets(tmp_path: Path) -> None:
    fake = model(tmp_path / "fake.mar")
    assert check_target(fake) == tmp_path / "fake.mar"
    with pytest.raises(OutputError, match="egomotion is built in and stays as it is.* --onset SCORE"):
        check_target(mar_edge.load("egomotion"))
    (tmp_path / "linked.mar").symlink_to(BUILTIN / "egomotion.mar")
    with pytest.raises(OutputError, match="is built in"):
        check_target(mar_edge.load(tmp_path / "linked.mar"))
    fake.engine.path = tmp_path / "model.safetensors"
    with pytest.raises(OutputError, match=r"model\.safetensors is none\..* run: mar-edge export"):
        check_target(fake)


def test_a_bundle_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    fake = model(tmp_path / "fake.mar")
    model(tmp_path / "fake.mar", variants=[_other_graph(tmp_path)])
    shutil.copy(tmp_path / "other.onnx", tmp_path / "fake.mar" / "mask50-fp32.onnx")
    before = (tmp_path / "fake.mar" / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match="was exported again meanwhile"):
        set_onsets(fake, judged(fake), MADE)
    (tmp_path / "fake.mar" / "mask50-fp32.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="sha256 differs"):
        set_onsets(fake, judged(fake), MADE)
    assert (tmp_path / "fake.mar" / "manifest.json").read_bytes() == before


def _other_graph(folder: Path) -> dict[str, Any]:
    """Return the variant of another graph, which is written."""
    from mar_edge.files.graph_files import hash_file
    from tests.fakes.bundle import manifest

    (folder / "other.onnx").write_bytes(b"another graph")
    return {**manifest()["variants"][0], "sha256": hash_file(folder / "other.onnx"), "size_bytes": 13}


def test_a_manifest_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = model(tmp_path / "fake.mar")
    before = {path.name: path.read_bytes() for path in (tmp_path / "fake.mar").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        set_onsets(fake, judged(fake), MADE)
    assert {path.name: path.read_bytes() for path in (tmp_path / "fake.mar").iterdir()} == before
    Bundle(tmp_path / "fake.mar").verify()


def test_clips_that_flatter_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    (tmp_path / "b.mp4").write_bytes(b"b")
    paths = (tmp_path / "a.mp4", tmp_path / "b.mp4")
    trained = {TRAINING_VIDEOS: Fingerprints.of(paths[:1]).text, "chosen_onsets": MADE}
    fake = model(tmp_path / "fake.mar", provenance=trained)
    (said,) = remarks_on_data(fake, paths, "abc", sets=False)
    assert "chosen on this very list" in said
    assert remarks_on_data(fake, paths, "other", sets=False) == []
    (said,) = remarks_on_data(fake, paths, "abc", sets=True)
    assert "trained on 1 of 2 videos of this list" in said


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Three clips of a camera that stands, and three of one whose view moves, which egomotion should tell apart."""
    rows = ["path,label,group"]
    for index in range(3):
        write_video(tmp_path / f"still{index}.mp4", [place / 10 for place in range(24)], size=(96, 96))
        write_moving(tmp_path / f"moving{index}.mp4", [place / 30 for place in range(72)], size=(96, 96))
        rows += [f"still{index}.mp4,still,s{index}", f"moving{index}.mp4,MOVE,s{index}"]
    (tmp_path / "val.csv").write_text("\n".join(rows))
    return tmp_path / "val.csv"


def test_the_command_writes_what_it_says(listed: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "own.mar"
    shutil.copytree(BUILTIN / "egomotion.mar", bundle)
    loaded = mar_edge.load(bundle)
    what = loaded.classify(tmp_path / "moving0.mp4").label  # of whatever it takes the moving picture for
    assert what != "still"
    listed.write_text(listed.read_text().replace("MOVE", what))
    chosen = ["--false-alarms", "0.4", "--class", what, "--set-onset"]
    done = run("evaluate", bundle, "--data", listed, *chosen, "--json", tmp_path / "o.jsonl", columns=100)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[-1])
    (own,) = [one for one in record["detection"]["classes"] if one["label"] == what]
    onset = own["at_chosen"]["onset"]
    assert f"written into {bundle}: {what}: onset {onset:g}" in done.stderr.replace("\n", "")
    assert own["at_onset"]["onset"] == 0.6 and record["groups"] == 3 and "by the column 'group'" in record["intervals"]
    assert onsets_of(mar_edge.load(bundle))[what] == onset


def test_the_command_refuses_before_the_work(listed: Path) -> None:
    listed.write_text(listed.read_text().replace("MOVE", "shake"))
    for more, says in (
        (["--set-onset"], "add --false-alarms"),
        (["--set-onset", "--false-alarms", "0.1"], "egomotion is built in"),
        (["--false-alarms", "0.1", "--class", "zoom_in"], "there are no clips of it"),
        (["--false-alarms", "0.1", "--group", "nothing"], "'nothing' is no column"),
    ):
        done = run("evaluate", "egomotion", "--data", listed, *more)
        assert done.returncode == 1 and says in done.stderr, done.stderr
        assert "top-1" not in done.stderr and "Traceback" not in done.stderr
