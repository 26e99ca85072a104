"""What runs where nobody says it: measurements that were made up, in a cache that was made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mar_edge
from mar_edge.bundle import Bundle
from mar_edge.errors import BundleError, EngineError, OutputError
from mar_edge.manifest import Parity
from mar_edge.runtime.measurement import choice as device_choice
from mar_edge.runtime.measurement.choice import choose, remember
from mar_edge.runtime.measurement.verification import Measurement
from tests.fakes.bundle import manifest, write_bundle

VERSIONS = {"onnxruntime": "1.31.1", "openvino": "2026.4.1"}
PARITY = Parity(max_abs_error=0, bound=1, clips=50, source="made up")


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A device with these engines, and an empty cache."""
    versions = dict(VERSIONS)
    monkeypatch.setattr(device_choice, "engine_version", versions.get)
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "cache"))
    return versions


def bundle_with(folder: Path, *precisions: str, masks: tuple[int, ...] = (50,), seed: str = "a") -> Bundle:
    """A bundle of graphs that nobody runs."""
    variants = [
        {**manifest()["variants"][0], "file": f"{mask}-{p}.onnx", "mask": mask, "precision": p, "sha256": digest}
        for mask in masks
        for p, digest in ((p, f"{mask:02d}{p:0>6}".encode().hex().ljust(64, seed)[:64]) for p in precisions)
    ]
    return Bundle(write_bundle(folder, variants=variants))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with every precision at two masks."""
    return bundle_with(tmp_path / "fake.mar", "fp32", "fp16", "bf16", "int8", masks=(50, 75))


def measured(bundle: Bundle, mask: int = 50, /, **speeds: float | None) -> list[Measurement]:
    """Measurements, by `engine_precision=speed`; a negative speed missed its bounds, None does not run."""
    found = []
    for name, speed in speeds.items():
        engine, precision = name.split("_")
        variant = bundle.variant(mask, precision)
        if speed is None:
            found.append(Measurement(variant, engine, VERSIONS[engine], failure="does not run"))
            continue
        missed = ("smallest cosine 0.5",) if speed < 0 else ()
        found.append(
            Measurement(
                variant,
                engine,
                VERSIONS[engine],
                median_ms=100 / abs(speed),
                speed=abs(speed),
                parity=PARITY,
                missed=missed,
            )
        )
    return found


def taken(bundle: Bundle, **options: Any) -> tuple[str, str]:
    choice = choose(bundle, **options)
    return choice.engine, choice.variant.precision


def test_without_a_measurement_it_is_fp32_in_onnx_runtime(bundle: Bundle) -> None:
    choice = choose(bundle)
    assert (choice.engine, choice.variant.precision, choice.variant.mask) == ("onnxruntime", "fp32", 50)
    assert choice.reason == f"not measured here yet. Run: mar-edge verify {bundle.path}"
    assert "not measured here yet. Run: mar-edge verify egomotion" in mar_edge.load("egomotion").reason


def test_a_measurement_with_another_number_of_threads_is_named_with_the_command_that_is_missing(bundle: Bundle) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_fp32=1.3))
    reason = f"measured here with all cores, not with 1 thread. Run: mar-edge verify {bundle.path} --threads 1"
    assert choose(bundle, threads=1).reason == reason
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_fp32=1.3), threads=2)
    assert choose(bundle, threads=1).reason.startswith("measured here with all cores and 2 threads, not with 1 thread.")
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_fp32=1.3), threads=1)
    assert choose(bundle, threads=1).reason.startswith("1.30x the speed")


def test_measured_with_one_thread_alone(bundle: Bundle) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_fp32=1.3), threads=1)
    assert choose(bundle).reason == (
        f"measured here with 1 thread, not with all cores. Run: mar-edge verify {bundle.path}"
    )


def test_a_measurement_of_another_mask_or_version_is_not_called_missing(bundle: Bundle, device: dict[str, str]) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_fp32=1.3))
    assert choose(bundle, mask=75).reason.startswith("measured here, but not this engine, mask and precision")
    device |= {"onnxruntime": "1.32.0", "openvino": "2027.0.0"}
    assert choose(bundle).reason.startswith("measured here, but not this engine, mask and precision")


def test_the_fastest_that_held_its_bounds_is_taken(bundle: Bundle) -> None:
    speeds = {"onnxruntime_fp32": 1.0, "openvino_fp32": 1.3, "openvino_bf16": 2.1, "openvino_int8": 3.4}
    remember(bundle, measured(bundle, **speeds))
    choice = choose(bundle)
    assert (choice.engine, choice.variant.precision) == ("openvino", "int8")
    assert choice.reason.startswith("3.40x the speed of fp32 in onnxruntime here, measured 20")


def test_what_missed_its_bounds_or_does_not_run_is_never_taken(bundle: Bundle) -> None:
    speeds = {"onnxruntime_fp32": 1.0, "onnxruntime_bf16": None, "openvino_bf16": 2.1, "openvino_int8": -3.4}
    remember(bundle, measured(bundle, **speeds))
    assert taken(bundle) == ("openvino", "bf16")
    choice = choose(bundle, precision="int8")  # asked for, so it runs, and the reason tells
    assert (choice.engine, choice.variant.precision) == ("onnxruntime", "int8")
    assert "no other graph stayed within its bounds here" in choice.reason


@pytest.mark.parametrize("int8", [0.5, 1.2, 1.29, 1.33])
def test_int8_that_gains_nothing_over_another_precision_is_never_taken(bundle: Bundle, int8: float) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_fp32=1.3, onnxruntime_int8=int8))
    assert taken(bundle) == ("openvino", "fp32")


def test_what_is_named_is_taken(bundle: Bundle) -> None:
    speeds = {"onnxruntime_fp32": 1.0, "onnxruntime_int8": 1.7, "openvino_fp32": 1.3, "openvino_int8": 3.4}
    remember(bundle, measured(bundle, **speeds))
    assert taken(bundle, engine="onnxruntime") == ("onnxruntime", "int8")
    assert taken(bundle, precision="fp32") == ("openvino", "fp32")
    assert taken(bundle, precision="fp16") == ("onnxruntime", "fp16")  # not measured
    assert taken(bundle, engine="onnxruntime", precision="fp32") == ("onnxruntime", "fp32")
    assert taken(bundle, engine="openvino", precision="bf16") == ("openvino", "bf16")
    assert choose(bundle, engine="onnxruntime", precision="fp32").reason == "as asked"


def test_every_mask_has_its_own_choice(bundle: Bundle) -> None:
    remember(bundle, measured(bundle, 50, onnxruntime_fp32=1.0, openvino_int8=3.0))
    remember(bundle, measured(bundle, 75, onnxruntime_fp32=1.0, openvino_int8=-3.0, openvino_fp32=1.5))
    assert taken(bundle) == taken(bundle, mask=50) == ("openvino", "int8")
    assert taken(bundle, mask=75) == ("openvino", "fp32")
    with pytest.raises(BundleError, match="no graph with mask 25"):
        choose(bundle, mask=25)


def test_a_new_run_replaces_all_of_its_mask_and_leaves_the_others(bundle: Bundle) -> None:
    remember(bundle, measured(bundle, 75, onnxruntime_fp32=1.0, openvino_fp32=1.5))
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_bf16=2.0, openvino_int8=1.9))
    # a noisy run in which everything was slower: nothing of it is compared with the bf16 of the run before
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_bf16=1.2, openvino_int8=1.6))
    assert taken(bundle) == ("openvino", "int8")
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_bf16=None))
    assert taken(bundle) == ("onnxruntime", "fp32")
    assert taken(bundle, mask=75) == ("openvino", "fp32")


def test_a_copy_of_another_name_is_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_int8=3.0))
    assert taken(Bundle(Path(shutil.copytree(bundle.path, tmp_path / "copy.mar")))) == ("openvino", "int8")


def test_another_graph_is_another_measurement(bundle: Bundle, tmp_path: Path) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_int8=3.0))
    changed = bundle_with(tmp_path / "fake.mar", "fp32", "fp16", "bf16", "int8", masks=(50, 75), seed="b")
    assert taken(changed) == ("onnxruntime", "fp32")


def test_another_number_of_threads_is_another_measurement(bundle: Bundle) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_int8=3.0), threads=1)
    assert taken(bundle) == ("onnxruntime", "fp32")
    assert taken(bundle, threads=2) == ("onnxruntime", "fp32")
    assert taken(bundle, threads=1) == ("openvino", "int8")


def test_another_device_is_another_measurement(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_int8=3.0))
    monkeypatch.setattr(device_choice, "device_key", lambda: "Raspberry Pi 5")
    assert taken(bundle) == ("onnxruntime", "fp32")


@pytest.mark.parametrize("version", [None, "2027.1"])
def test_an_engine_that_went_away_or_changed_is_measured_again(
    bundle: Bundle, device: dict[str, str | None], version: str | None
) -> None:
    remember(bundle, measured(bundle, onnxruntime_fp32=1.0, onnxruntime_int8=1.5, openvino_int8=3.0))
    device["openvino"] = version
    assert taken(bundle) == ("onnxruntime", "int8")


def test_bf16_alone_goes_to_openvino(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "other.mar", "bf16")
    assert taken(bundle) == taken(bundle, precision="bf16") == ("openvino", "bf16")


def test_int8_bf16_is_taken_where_it_is_fastest_and_never_in_onnx_runtime(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "other.mar", "fp32", "int8-bf16", "int8")

    def speeds(mixed: float, int8: float) -> list[Measurement]:
        found = measured(bundle, onnxruntime_fp32=1, openvino_int8=int8)
        variant = bundle.variant(50, "int8-bf16")
        ran = {"median_ms": 100 / abs(mixed), "speed": abs(mixed), "missed": ("KL",) if mixed < 0 else ()}
        return [
            *found,
            Measurement(variant, "openvino", VERSIONS["openvino"], parity=PARITY, **ran),  # type: ignore[arg-type]
            Measurement(variant, "onnxruntime", VERSIONS["onnxruntime"], failure="ONNX Runtime has no bf16 kernels"),
        ]

    remember(bundle, speeds(3.3, 3))
    assert taken(bundle) == ("openvino", "int8-bf16")
    remember(bundle, speeds(3, 3.1))  # the higher precision, as int8 gains too little
    assert taken(bundle) == ("openvino", "int8-bf16")
    remember(bundle, speeds(3, 3.3))
    assert taken(bundle) == ("openvino", "int8")
    remember(bundle, speeds(-4, 3))  # it missed its bounds
    assert taken(bundle) == ("openvino", "int8")


def test_without_a_measurement_onnx_runtime_is_not_given_bf16(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "other.mar", "bf16", "int8-bf16", "int8")
    assert taken(bundle) == taken(bundle, engine="onnxruntime") == ("onnxruntime", "int8")
    assert taken(bundle, precision="int8-bf16") == ("openvino", "int8-bf16")
    assert taken(bundle_with(tmp_path / "alone.mar", "int8-bf16")) == ("openvino", "int8-bf16")


def test_tensorrt_is_not_given_int8_bf16(tmp_path: Path) -> None:
    assert taken(bundle_with(tmp_path / "a.mar", "int8-bf16", "int8"), engine="tensorrt") == ("tensorrt", "int8")


def test_an_unknown_engine_is_named(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="unknown engine 'tpu'; choose from auto, onnxruntime, openvino"):
        choose(bundle, engine="tpu")


def test_what_could_not_be_compared_is_not_remembered(bundle: Bundle) -> None:
    alone = Measurement(bundle.variant(50, "int8"), "openvino", VERSIONS["openvino"], median_ms=1.0)
    remember(bundle, [alone])
    assert taken(bundle) == ("onnxruntime", "fp32")


def _empty(path: Path) -> None:
    path.write_text("")


def _bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00 not text")


def _other(path: Path) -> None:
    path.write_text(json.dumps({"measurements": [{"engine": "openvino", "speed": "fast"}]}))


def _half(path: Path) -> None:
    path.write_text(path.read_text()[:-40])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_empty, _bytes, _other, _half, _folder])
def test_a_damaged_cache_is_told_and_forgotten(bundle: Bundle, spoil: Callable[[Path], None]) -> None:
    path = remember(bundle, measured(bundle, onnxruntime_fp32=1.0, openvino_int8=3.0))
    spoil(path)
    choice = choose(bundle)
    assert (choice.engine, choice.variant.precision) == ("onnxruntime", "fp32")
    assert "is damaged" in choice.reason or "cannot be read" in choice.reason


def test_a_cache_that_cannot_be_written_names_the_way_out(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(OutputError, match="cannot write the cache .* Set MAR_EDGE_CACHE to a folder you can write to"):
        remember(bundle, measured(bundle, onnxruntime_fp32=1.0))
    assert taken(bundle) == ("onnxruntime", "fp32")


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mar_edge.runtime.device.cache import folder, location

    assert folder("measurements") == tmp_path / "cache" / "measurements"
    assert folder("measurements").is_dir()
    monkeypatch.delenv("MAR_EDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert location("engines") == tmp_path / "xdg" / "mar-edge" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says to ignore it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert location("engines") == tmp_path / "home" / ".cache" / "mar-edge" / "engines"
    assert not (tmp_path / "home").exists()
