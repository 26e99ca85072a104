"""Bundles: what is checked when one is opened, and how one is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mar_edge import bundle as bundles
from mar_edge.bundle import Bundle, open_bundle
from mar_edge.errors import BundleError, OutputError
from tests.fakes.bundle import manifest, write_bundle


def test_a_whole_bundle_opens(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "fake.mar"))
    assert bundle.manifest.name == "fake"
    assert bundle.variant().mask == 50
    assert bundle.graph_path(bundle.variant()).is_file()


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "fake.mar")
    (folder / "mask50-fp32.onnx").write_bytes(b"not A graph")
    with pytest.raises(BundleError, match=r"mask50-fp32\.onnx is not the file that was exported"):
        open_bundle(folder)


def test_a_missing_graph_is_found(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "fake.mar")
    (folder / "mask50-fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks mask50-fp32\.onnx"):
        open_bundle(folder)


def test_a_missing_manifest_is_found(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        open_bundle(tmp_path)


def test_a_newer_format_says_to_update(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has format 6, and this mar-edge reads up to 5.*--upgrade"):
        open_bundle(write_bundle(tmp_path / "fake.mar", format=6))


def test_a_bundle_says_what_its_events_are(tmp_path: Path) -> None:
    events = {"smoothing_s": 0.2, "onset": 0.5, "offset": 0.3, "cooldown_s": 1, "classes": {"bright": {"onset": 0.8}}}
    found = open_bundle(write_bundle(tmp_path / "new.mar", events=events, clip_answer="peak")).manifest
    assert found.events is not None and found.events.classes["bright"].onset == 0.8
    assert (found.events.model_dump(exclude_none=True), found.clip_answer) == (events, "peak")
    assert json.loads((tmp_path / "new.mar" / "manifest.json").read_text())["format"] == 5
    before = open_bundle(write_bundle(tmp_path / "old.mar")).manifest  # none has them before format 5
    assert (before.events, before.clip_answer) == (None, "mean")
    built_in = open_bundle("egomotion").manifest
    assert (built_in.format, built_in.events, built_in.clip_answer) == (4, None, "mean")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": []}, "labels"),
        ({"labels": ["a", "a"]}, "not distinct"),
        ({"idle_label": "sleeping"}, "'sleeping' is not one of the labels"),
        ({"rate_fps": 0}, "rate_fps"),
        ({"events": {"onset": 0.3}}, "events: .*offset 0.4 is above onset 0.3"),
        ({"events": {"onset": 1.5}}, "events.onset"),
        ({"events": {"classes": {"wave": {}}}}, "'wave', which is not one of the labels"),
        ({"clip_answer": "median"}, "clip_answer"),
        ({"clip_answer": "peak", "sampling": "uniform"}, "'peak' needs dense sampling"),
        ({"resize": "tile"}, "resize"),
        ({"geometry": {"frames": 4, "height_px": 30, "width_px": 32, "patch_px": 8}}, "geometry.*24 px or 32 px"),
        (
            {"temporal": "causal", "geometry": {"frames": 130, "height_px": 32, "width_px": 32}},
            "temporal 'causal' has 2 to 64 time steps, not 65",
        ),
        ({"surprise": 1}, "surprise"),
        ({"format": "one"}, "format 'one'"),
        ({"variants": []}, "variants"),
    ],
)
def test_a_manifest_that_breaks_the_schema_names_the_place(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(BundleError, match=says):
        open_bundle(write_bundle(tmp_path / "fake.mar", **changes))


def test_a_changed_manifest_is_found(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "fake.mar")
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"rate_fps": 10.0', '"rate_fps": 20.0'))
    with pytest.raises(BundleError, match=r"manifest\.json is not the file that was exported"):
        open_bundle(folder)


def test_names_too_long_for_the_file_system() -> None:
    with pytest.raises(BundleError, match="unknown model 'xxx"):
        open_bundle("x" * 5000)


@pytest.mark.parametrize("name", ["runs/egomotion.mar", "egomotion.mar"])
def test_a_path_where_nothing_is_is_no_misspelt_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"there is no such folder. Run: mar-edge models"):
        open_bundle(name)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
def test_a_manifest_that_is_no_json_object(tmp_path: Path, text: str) -> None:
    folder = write_bundle(tmp_path / "fake.mar")
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(folder)


def test_a_graph_outside_the_bundle_is_refused(tmp_path: Path) -> None:
    variants = manifest()["variants"]
    variants[0]["file"] = "../evil.onnx"
    with pytest.raises(BundleError, match=r"variants\.0\.file"):
        open_bundle(write_bundle(tmp_path / "fake.mar", variants=variants))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(BundleError, match="did you mean 'egomotion'"):
        open_bundle("egomotoin")
    with pytest.raises(BundleError, match="built in: .*egomotion"):
        open_bundle("zzz")


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match="is a file.*mar-edge export"):
        open_bundle(tmp_path / "model.safetensors")


def test_a_graph_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    bundle = Bundle(write_bundle(tmp_path / "fake.mar"))
    with pytest.raises(BundleError, match="no graph with mask 75.*it has mask 50 fp32"):
        bundle.variant(mask=75)
    with pytest.raises(BundleError, match="precision int8"):
        bundle.variant(precision="int8")


def test_writing_replaces_a_bundle_whole(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "fake.mar")
    (out / "mask50-fp32.onnx").write_bytes(b"damaged, but still ours")
    with bundles.writing(out) as folder:
        write_bundle(folder, name="new")
    assert json.loads((out / "manifest.json").read_text())["name"] == "new"
    assert (out / "mask50-fp32.onnx").read_bytes() == b"not a graph"
    assert [path.name for path in tmp_path.iterdir()] == ["fake.mar"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_writing_that_fails_keeps_the_old_and_leaves_no_half(tmp_path: Path, error: type[BaseException]) -> None:
    out = write_bundle(tmp_path / "fake.mar")
    with pytest.raises((error, OutputError)), bundles.writing(out) as folder:
        (folder / "half").write_text("half")
        raise error("on the way")
    assert open_bundle(out).manifest.name == "fake"
    assert [path.name for path in tmp_path.iterdir()] == ["fake.mar"]


def test_writing_over_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with (
        pytest.raises(OutputError, match="was not written by mar-edge as a bundle"),
        bundles.writing(tmp_path / "photos"),
    ):
        pass
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_writing_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"), bundles.writing(tmp_path / "file" / "fake.mar"):
        pass
