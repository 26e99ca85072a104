"""One export makes a family of graphs; what fails the gate, and what an accident leaves behind."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto

import mar_edge
from mar_edge.bundle import open_bundle
from mar_edge.errors import BundleError, ExportError, OutputError
from mar_edge.export import family as families
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.clip_choice import GATE_CLIPS
from mar_edge.export.exported import Exported
from mar_edge.export.exporter import export
from mar_edge.export.half.precision import to_half
from mar_edge.export.int8 import calibrate
from mar_edge.runtime.engines.registry import create_engine
from tests.conftest import ROOT
from tests.fakes.command_line import fails_with, new_process
from tests.fakes.command_line import mar_edge as run
from tests.fakes.tiny_model import INFO, TINY
from tests.fakes.video_files import write_video

ALL = ("fp32", "fp16", "bf16", "int8")
DEMO = CalibrationOptions(clips=8, method="minmax")


@pytest.fixture(scope="module")
def family(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its graphs of every precision at masks 50 and 75."""
    out = tmp_path_factory.mktemp("family") / "tiny.mar"
    return export(weights, out, masks=[50, 75], precisions=ALL, calibration=DEMO)


@pytest.fixture
def bundle(family: Exported, tmp_path: Path) -> Path:
    """A copy of the family that may be changed."""
    return Path(shutil.copytree(family.bundle.path, tmp_path / "tiny.mar"))


def test_a_family_has_every_mask_and_precision(family: Exported, rng: np.random.Generator) -> None:
    manifest = open_bundle(family.bundle.path).manifest
    assert manifest.trained_mask == 50
    kinds = ["fp32", "fp16", "bf16", "int8 for cpu", "int8 for tensorrt"]
    assert [v.title for v in manifest.variants] == [f"mask {mask} {kind}" for mask in (50, 75) for kind in kinds]
    clip = rng.integers(0, 256, (1, *TINY.geometry.clip_shape), dtype=np.uint8)
    for variant in manifest.variants:
        parity = variant.parity
        assert parity.clips == GATE_CLIPS
        assert parity.reference == "torch fp32"
        assert None not in (parity.cosine, parity.kl, parity.top1_agreement)
        if variant.precision != "bf16":  # which ONNX Runtime cannot run
            fp32 = create_engine(family.bundle, family.bundle.variant(variant.mask, "fp32")).infer(clip)
            assert np.abs(create_engine(family.bundle, variant).infer(clip) - fp32).max() < 0.1


def test_precision_is_in_the_graph(family: Exported) -> None:
    def weights_of(title: str) -> set[int]:
        variant = next(v for v in family.bundle.manifest.variants if v.title == title)
        graph = onnx.load(str(family.bundle.graph_path(variant))).graph
        # what is large enough to be a weight of a product
        return {tensor.data_type for tensor in graph.initializer if np.prod(tensor.dims) >= 24 * 24}

    assert weights_of("mask 50 fp32") == {TensorProto.FLOAT}
    assert weights_of("mask 50 fp16") == {TensorProto.FLOAT16}
    assert weights_of("mask 50 bf16") == {TensorProto.BFLOAT16}
    assert TensorProto.INT8 in weights_of("mask 50 int8 for cpu")
    assert TensorProto.FLOAT not in weights_of("mask 50 int8 for tensorrt")  # positions are FP16 there


def test_load_takes_the_graph_that_is_asked_for(family: Exported) -> None:
    model = mar_edge.load(family.bundle.path, engine="onnxruntime", precision="int8", mask=75)
    assert model.variant.title == "mask 75 int8 for cpu"
    assert family.bundle.variant("auto", "int8", engine="tensorrt").title == "mask 50 int8 for tensorrt"


def test_graphs_carry_nothing_of_the_machine_that_made_them(family: Exported) -> None:
    for file in family.bundle.path.glob("*.onnx"):
        assert os.fsencode(Path(families.__file__).parent) not in file.read_bytes()


def test_only_what_is_asked_for_is_kept(weights: Path, tmp_path: Path) -> None:
    bundle = export(weights, tmp_path / "half.mar", precisions=["fp16"]).bundle
    assert sorted(path.name for path in bundle.path.iterdir()) == ["manifest.json", "mask50-fp16.onnx"]


def test_int8_needs_clips(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8 needs clips to measure activations on; add --calibrate CLIPS"):
        export(weights, tmp_path / "a.mar", precisions=["int8"])


def wrong(model: ModelProto, precision: str, kept: Sequence[str]) -> ModelProto:
    """Make a half graph whose logits are off."""
    half = to_half(model, precision, kept)
    weights = next(node for node in half.graph.node if node.op_type == "Gemm").input[1]
    for tensor in half.graph.initializer:
        if tensor.name == weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), weights))
    return half


def fp32_in_disguise(model: ModelProto, precision: str, kept: Sequence[str]) -> ModelProto:
    """Claim to be half and be FP32."""
    return model


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (wrong, "mask 50 fp16: it does not match torch: largest error of a logit .*do not follow fp32"),
        (fp32_in_disguise, "mask 50 fp16: it does not compute in fp16"),
    ],
)
def test_a_variant_that_misses_is_named(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[ModelProto, str, Sequence[str]], ModelProto],
    says: str,
) -> None:
    monkeypatch.setattr(families, "to_half", fault)
    exported = export(weights, tmp_path / "a.mar", precisions=["fp32", "fp16"])
    assert [variant.precision for variant in open_bundle(exported.bundle.path).manifest.variants] == ["fp32"]
    (failure,) = exported.failures
    assert re.match(says, failure), failure
    assert failure.endswith("Next: --precision bf16, or --precision fp32")
    with pytest.raises(ExportError, match="no graph passed, so .* was not written: mask 50 fp16"):
        export(weights, tmp_path / "b.mar", precisions=["fp16"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.mar"]


def test_labels_of_the_data_count(weights: Path, tmp_path: Path, real_clips: Path) -> None:
    videos = sorted((real_clips / "asl").glob("*.mkv"))[:2]
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "".join(f"{video},{label}\n" for video, label in zip(videos, "ab", strict=True)))
    exported = export(weights, tmp_path / "a.mar", data=listed, clips=4)
    (variant,) = exported.bundle.manifest.variants
    assert variant.parity.top1 == variant.parity.reference_top1
    assert variant.parity.top1 is not None
    assert variant.parity.source == "list.csv"


def test_a_bundle_is_exported_anew_from_its_own_graph(bundle: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    again = export(bundle, tmp_path / "again.mar", masks=[0, 50], precisions=["fp32", "fp16"]).bundle
    clip = rng.integers(0, 256, (1, *TINY.geometry.clip_shape), dtype=np.uint8)
    old, new = (create_engine(b, b.variant(50, "fp32")).infer(clip) for b in (open_bundle(bundle), again))
    assert np.abs(old - new).max() < 1e-5
    assert again.manifest.labels == INFO.labels


def test_calibrate_replaces_the_int8_of_a_bundle_and_nothing_else(bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    calibrated = calibrate(bundle, CalibrationOptions(clips=4, measure_blocks=True), masks=[75])
    after = {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"manifest.json", "mask75-int8-cpu.onnx", "mask75-int8-tensorrt.onnx"}
    assert "manifest.json" in changed
    manifest = open_bundle(bundle).manifest
    assert next(v for v in manifest.variants if v.title == "mask 75 int8 for cpu").quantisation["clips"] == 4
    assert {graph.title for graph in calibrated.quantised} == {"mask 75 int8 for cpu", "mask 75 int8 for tensorrt"}
    blocks = {damage.block for damage in calibrated.quantised[0].damages}
    assert {"encoder.blocks.0", "encoder.blocks.1", "classifier.head"} <= blocks
    assert any("4 clips are few" in message for message in calibrated.warnings)


def test_what_cannot_be_calibrated(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"egomotion is built in.*add -o egomotion\.mar"):
        calibrate("egomotion", DEMO)
    with pytest.raises(ExportError, match="no graph with mask 25 in fp32 to calibrate; it has 50, 75"):
        calibrate(bundle, DEMO, masks=[25])
    with pytest.raises(BundleError, match="unknown model"):
        calibrate(tmp_path / "no.mar", DEMO)


def test_a_bad_clip_stops_the_calibration_and_the_bundle_stays(bundle: Path, tmp_path: Path, real_clips: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.mkv").symlink_to((real_clips / "asl" / "yes.mkv").resolve())
    (clips / "b.mp4").write_bytes(b"no video at all")
    with pytest.raises(mar_edge.SourceError, match=r"b\.mp4"):
        calibrate(bundle, CalibrationOptions(data=clips, clips=4))
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "tiny.mar"]


def limit_files() -> None:
    """Let no file grow beyond 60 kB, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def test_a_full_disk_leaves_the_old_bundle(weights: Path, bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    done = new_process("export", weights, "-o", bundle, preexec_fn=limit_files)
    assert done.returncode == 1, done.stderr
    assert "mar-edge: cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in bundle.parent.iterdir()] == ["tiny.mar"]


@pytest.mark.parametrize(
    ("after_s", "number", "code"), [(0.3, signal.SIGINT, 130), (1.5, signal.SIGINT, 130), (1.5, signal.SIGTERM, 143)]
)
def test_an_interrupt_leaves_the_old_bundle(
    weights: Path, bundle: Path, after_s: float, number: signal.Signals, code: int
) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    command = [sys.executable, "-m", "mar_edge", "export", str(weights), "-o", str(bundle)]
    for mask in (0, 25, 50, 75):
        command += ["--mask", str(mask)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    while "libtorch" not in maps.read_text():  # Python's own start takes seconds on a busy machine
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(after_s)
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in bundle.parent.iterdir()] == ["tiny.mar"]


def test_the_command_line_shows_the_family_and_the_trade_off(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.mar"
    done = run("export", weights, "-o", out, "--precision", "fp32", "--precision", "fp16")
    assert done.returncode == 0, done.stderr
    for word in ("mask 50 fp32", "mask 50 fp16", "cosine", "8 clips (demo camera)"):
        assert word in done.stderr
    clips = tmp_path / "clips"
    clips.mkdir()
    write_video(clips / "a.mp4", [index / 30 for index in range(60)])
    done = run("calibrate", out, "--data", clips, "--clips", "8", "--target-drop", "0", "--method", "minmax")
    assert done.returncode == 0, done.stderr
    for word in (
        "with only one block in INT8",
        "encoder.blocks.0",
        "blocks kept in higher precision",
        "chosen",
        "4 clips are few",  # of the eight: a video of 2 s at 10 fps has no more that are not copies
    ):
        assert word in done.stderr, done.stderr
    assert (tmp_path / "tiny-mask50-int8-cpu-trade-off.png").read_bytes().startswith(b"\x89PNG")
    assert len(open_bundle(out).manifest.variants) == 4


def test_a_profile_decides_the_placement_and_how_triton_serves(weights: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [index / 30 for index in range(60)])
    models = tmp_path / "models"
    options: list[str | Path] = [
        "--calibrate",
        tmp_path / "a.mp4",
        "--method",
        "minmax",
        "--triton",
        models,
        "--mask",
        "50",
    ]
    done = run("export", weights, "-o", tmp_path / "t.mar", "--profile", ROOT / "export" / "x86-cpu.yaml", *options)
    assert done.returncode == 0, done.stderr
    int8 = [v.title for v in open_bundle(tmp_path / "t.mar").manifest.variants if v.precision == "int8"]
    assert int8 == ["mask 50 int8 for cpu"]
    served = (models / "tiny_mask50_int8_cpu" / "config.pbtxt").read_text()
    assert "KIND_CPU" in served
    assert "tensorrt" not in served
    (models / ".mar-edge-triton").unlink()
    fails_with("was not written by mar-edge", "export", weights, "-o", tmp_path / "u.mar", "--triton", models)
    assert not (tmp_path / "u.mar").exists()  # told before the work


def test_profile_build_and_triton_from_the_command_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "cache"))
    options = ["--mask", "75", "--precision", "fp16", "--build", "tensorrt-rtx"]
    places: list[str | Path] = ["--triton", tmp_path / "models", "--profile", ROOT / "export" / "l4.yaml"]
    done = run("export", weights, "-o", tmp_path / "t.mar", *options, *places)
    assert done.returncode == 0, done.stderr
    assert [v.title for v in open_bundle(tmp_path / "t.mar").manifest.variants] == ["mask 75 fp16"]  # typed wins
    assert list((tmp_path / "cache" / "tensorrt").glob("*.engine"))
    assert "Triton models tiny_mask75_fp16" in done.stderr
    assert (tmp_path / "models" / "tiny_mask75_fp16" / "config.pbtxt").is_file()
    fails_with("no profile", "export", weights, "-o", tmp_path / "u.mar", "--profile", tmp_path / "no.yaml")


def test_the_manifest_says_how_it_was_made(family: Exported) -> None:
    values = json.loads((family.bundle.path / "manifest.json").read_text())
    assert values["format"] == 5
    assert values["provenance"]["export"]["versions"]["onnx"] == onnx.__version__
    int8 = [variant for variant in values["variants"] if variant["precision"] == "int8"]
    assert all(variant["quantisation"]["method"] == "minmax" for variant in int8)
    assert [variant["quantisation"].get("rest") for variant in int8] == [None, "fp16"] * 2
