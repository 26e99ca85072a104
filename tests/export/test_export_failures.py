"""INT8 that misses its bounds: blocks stay in higher precision by themselves, what is sound is written, and what to do is said."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper
from typer.testing import CliRunner, Result

from mar_edge.bundle import open_bundle
from mar_edge.calibration import scheme
from mar_edge.calibration.ranges import ranges
from mar_edge.cli.main import app
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.errors import EngineError, ExportError
from mar_edge.export import family as families
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.clip_choice import choose_clips
from mar_edge.export.exporter import export
from mar_edge.export.gate import Gate
from mar_edge.export.graph import write_graph
from mar_edge.export.half.precision import to_half
from mar_edge.export.int8 import calibrate
from mar_edge.manifest import Variant
from mar_edge.model import checkpoint
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import build
from mar_edge.model.deployed import describe
from mar_edge.node_names import block_of
from mar_edge.runtime.engines.tensorrt import cache, versions
from mar_edge.runtime.measurement.parity import Verdict
from tests.fakes.family import INFO, TINY
from tests.fakes.films import moving_square, write_film


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two classes whose logits are small."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "two.safetensors"
    checkpoint.save(path, build(TINY), TINY, INFO)
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve films of two classes."""
    folder = tmp_path_factory.mktemp("films")
    for index in range(6):
        for label in ("left", "right"):
            write_film(folder / label / f"{index}.mp4", moving_square(label, index, frames=20))
    return folder


@pytest.fixture(scope="module")
def graph(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its graph in FP32."""
    path = tmp_path_factory.mktemp("graph") / "mask50-fp32.onnx"
    write_graph(checkpoint.load(weights)[0].eval(), 0.5, path)
    return path


@pytest.fixture(autouse=True)
def written_once(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph in FP32 from there: all exports here are of the same weights at mask 50, and tracing takes seconds."""
    monkeypatch.setattr(families, "write_graph", lambda _model, _mask, path: shutil.copy(graph, path))


@pytest.fixture
def options(films: Path) -> CalibrationOptions:
    return CalibrationOptions(data=films, clips=9, method="minmax")


def destroy(monkeypatch: pytest.MonkeyPatch, *blocks: str) -> None:
    """Let the ranges of blocks be those of a single huge value, so that all others become 0."""
    found = ranges

    def wrong(*arguments: Any) -> dict[str, float]:
        return {name: 1e4 * limit if block_of(name) in blocks else limit for name, limit in found(*arguments).items()}

    monkeypatch.setattr(scheme, "ranges", wrong)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_two_class_model_with_small_logits_is_exported_whole(
    weights: Path, options: CalibrationOptions, tmp_path: Path
) -> None:
    exported = export(weights, tmp_path / "two.mar", precisions=["fp32", "fp16", "int8"], calibration=options)
    assert exported.failures == ()
    assert [variant.kept for variant in exported.bundle.manifest.variants] == [()] * 4


def test_a_destroyed_block_stays_in_fp32_by_itself(
    weights: Path, options: CalibrationOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destroy(monkeypatch, "encoder.blocks.1")
    exported = export(weights, tmp_path / "two.mar", precisions=["fp32", "int8"], calibration=options)
    assert exported.failures == ()
    for variant in exported.bundle.manifest.variants[1:]:
        assert variant.kept == ("encoder.blocks.1",)
        assert 0.3 < variant.quantisation["int8_share"] < 1
        names = [n.name for n in onnx.load(exported.bundle.graph_path(variant)).graph.node if "Quant" in n.op_type]
        assert names and not [name for name in names if name.startswith("encoder.blocks.1.")]
        (warning,) = [message for message in exported.warnings if message.startswith(variant.title)]
        assert re.match(
            r".* keeps encoder\.blocks\.1 in higher precision \(\d+ % of its work is INT8\); otherwise", warning
        )
        assert "it misses its bounds on the calibration's clips: " in warning
    assert [len(graph.rows) for graph in exported.quantised] == [2, 2]


def refuse(monkeypatch: pytest.MonkeyPatch, placement: str, until_kept: int) -> list[tuple[str, ...]]:
    """Let the gate refuse INT8 graphs of a placement that keep too few blocks; return what they kept, as they come."""
    seen: list[tuple[str, ...]] = []
    check = Gate.check

    def picky(self: Gate, variant: Variant, path: Path) -> Verdict:
        verdict = check(self, variant, path)
        if variant.placement == placement:
            seen.append(variant.kept)
            if len(variant.kept) < until_kept:
                raise ExportError("it does not match torch: made up")
        return verdict

    monkeypatch.setattr(Gate, "check", picky)
    return seen


def test_what_fails_on_other_clips_keeps_more_blocks(
    weights: Path, options: CalibrationOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = refuse(monkeypatch, "cpu", 3)
    exported = export(weights, tmp_path / "two.mar", precisions=["int8"], calibration=options)
    assert exported.failures == ()
    assert [len(kept) for kept in seen] == [0, 1, 3]  # one more, then two more
    assert seen[2][:1] == seen[1]
    kept = {variant.placement: variant.kept for variant in exported.bundle.manifest.variants}
    assert kept == {"cpu": seen[2], "tensorrt": ()}
    assert any("mask 50 int8 for cpu keeps " in message and "made up" in message for message in exported.warnings)


@pytest.mark.parametrize("missing", ["cpu", "tensorrt"])
def test_a_missed_graph_leaves_the_others(
    weights: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    seen = refuse(monkeypatch, missing, 99)
    out = tmp_path / "two.mar"
    done = run("export", weights, "-o", out, "--precision", "int8", "--calibrate", films, "--method", "minmax")
    assert done.exit_code == 1
    other = "tensorrt" if missing == "cpu" else "cpu"
    assert [variant.title for variant in open_bundle(out).manifest.variants] == [f"mask 50 int8 for {other}"]
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", f"mask50-int8-{other}.onnx"]
    assert isinstance(done.exception, ExportError)
    told = str(done.exception)
    assert told.startswith(f"{out} was written without 1 of the graphs. mask 50 int8 for {missing}: it does not match")
    assert told.endswith("with more than these 9 videos, from the place of use, or --precision fp16")
    assert len(seen) > 2  # it was tried with blocks in higher precision first


def test_a_rest_that_cannot_be_half_costs_the_graph_for_tensorrt_alone(
    weights: Path, options: CalibrationOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any, **_options: Any) -> tuple[str, ...]:
        raise ExportError("no matrix product of this model can be computed in fp16 within its bounds")

    monkeypatch.setattr(families, "choose_kept", refused)
    kinds = ["fp32", "fp16", "int8"]
    exported = export(weights, tmp_path / "two.mar", precisions=kinds, calibration=options)
    assert [variant.title for variant in exported.bundle.manifest.variants] == ["mask 50 fp32", "mask 50 int8 for cpu"]
    assert [message.partition(":")[0] for message in exported.failures] == [
        "mask 50 fp16",
        "mask 50 int8 for tensorrt",
    ]
    assert exported.failures[0].endswith("Next: --precision bf16, or --precision fp32")


def of_other_sign(model: ModelProto, precision: str, kept: Collection[str]) -> ModelProto:
    """Make a half graph whose labels are swapped."""
    half = to_half(model, precision, kept)
    weights = {name for node in half.graph.node if node.op_type == "Gemm" for name in node.input[1:]}
    for tensor in half.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    return half


def test_a_half_graph_of_two_classes_with_swapped_labels_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "to_half", of_other_sign)
    exported = export(weights, tmp_path / "two.mar", precisions=["fp32", "fp16"])
    assert exported.failures[0].startswith("mask 50 fp16: it does not match torch: ")
    with pytest.raises(ExportError, match=r"no graph passed, so .*b\.mar was not written: mask 50 bf16: .*--precision"):
        export(weights, tmp_path / "b.mar", precisions=["bf16"])
    assert [path.name for path in tmp_path.iterdir()] == ["two.mar"]


def test_what_cannot_be_built_is_named_and_the_rest_is_done(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, variant: Variant, **_options: Any) -> None:
        tried.append(variant.title)
        raise EngineError("it was made up that no engine can be built")

    tried: list[str] = []
    monkeypatch.setattr(cache, "build_to_file", refused)
    monkeypatch.setattr(versions, "load", lambda _module: None)
    out, kinds = tmp_path / "two.mar", ["--precision", "fp32", "--precision", "fp16"]
    done = run("export", weights, "-o", out, *kinds, "--build", "tensorrt-rtx", "--triton", tmp_path / "models")
    assert done.exit_code == 1
    assert tried == ["mask 50 fp32", "mask 50 fp16"]
    assert str(done.exception).startswith(f"{out} was written. mask 50 fp32 was not built: it was made up")
    assert len(open_bundle(out).manifest.variants) == 2
    assert (tmp_path / "models" / "tiny_mask50_fp16").is_dir()


def test_calibrate_keeps_the_old_graph_where_the_new_one_fails(
    weights: Path, films: Path, options: CalibrationOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "my two.mar"
    export(weights, out, precisions=["fp32", "int8"], calibration=options)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with monkeypatch.context() as patch:
        refuse(patch, "tensorrt", 99)
        done = run("calibrate", out, "--data", films, "--clips", "4", "--method", "minmax")
        assert done.exit_code == 1
        assert len(open_bundle(out).manifest.variants) == 3
        assert (out / "mask50-int8-tensorrt.onnx").read_bytes() == before["mask50-int8-tensorrt.onnx"]
        assert "mask 50 int8 for tensorrt: the existing graph is kept" in done.stderr
        told = str(done.exception)
        assert "Next: --clips 8, or mar-edge export" in told
        written = {path.name: path.read_bytes() for path in out.iterdir()}
        refuse(patch, "cpu", 99)
        with pytest.raises(ExportError, match="no INT8 graph passed, so .* was not written"):
            calibrate(out, options)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == written
    # what the error advised works as it was printed
    advised = shlex.split(re.search(r"mar-edge (export .*)", told)[1])  # type: ignore[index]
    assert run(*advised).exit_code == 0
    assert (tmp_path / "my two-fp16.mar" / "mask50-fp16.onnx").is_file()
    assert run("calibrate", out, "--data", films, "--clips", "8", "--method", "minmax").exit_code == 0


# which clips


def spec_of(info: CheckpointInfo) -> Any:
    return describe(Path("two.safetensors"), TINY, info)


def test_some_videos_are_held_out_for_the_gate(films: Path, options: CalibrationOptions, tmp_path: Path) -> None:
    warnings: list[str] = []
    choice = choose_clips(spec_of(INFO), None, None, options, warn=warnings.append)
    assert choice.calibration is not None
    assert not set(choice.gate.files) & set(choice.calibration.files)
    assert len(choice.gate.files) == 3 and len(choice.calibration.files) == 9
    assert {path.parent.name for path in choice.gate.files} == {"left", "right"}
    labels = choice.gate.labels()
    assert labels is not None
    assert [("left", "right")[label] for label in labels] == [
        path.parent.name
        for path, windows in zip(choice.gate.files, choice.gate.windows, strict=True)
        for _ in range(windows)
    ]
    assert choice.gate.source == f"3 videos of {films.name}, held out from calibration"
    assert not choice.overlap and not warnings
    few = tmp_path / "few"
    few.mkdir()
    for index in range(7):
        shutil.copy(films / "left" / f"{index % 6}.mp4", few / f"{index}.mp4")
    same = choose_clips(spec_of(INFO), None, None, CalibrationOptions(data=few), warn=warnings.append)
    assert same.calibration is not None and same.gate.files == same.calibration.files and same.overlap
    (warning,) = warnings
    assert "compared on videos that it was calibrated on; with 8 videos or more some are held out" in warning
    # what a person names for the comparison is taken as it is
    named = choose_clips(spec_of(INFO), few, None, options, warn=warnings.append)
    assert named.calibration is not None and len(named.gate.files) == 7 and len(named.calibration.files) == 9
    assert not named.overlap and len(warnings) == 1
    assert choose_clips(spec_of(INFO), films, None, options, warn=warnings.append).overlap and len(warnings) == 2


def test_int8_says_if_it_was_judged_on_its_own_clips(weights: Path, films: Path, tmp_path: Path) -> None:
    options = CalibrationOptions(data=films / "left" / "0.mp4", clips=2, method="minmax", placements=("cpu",))
    bundle = export(weights, tmp_path / "two.mar", precisions=["fp32", "int8"], calibration=options).bundle
    assert [variant.parity.source for variant in bundle.manifest.variants] == ["0.mp4", "0.mp4, also calibrated on"]


def test_training_videos_are_called_so(weights: Path, films: Path, tmp_path: Path) -> None:
    videos = sorted(films.rglob("*.mp4"))

    def trained_on(known: list[Path]) -> Path:
        info = CheckpointInfo(**{**vars(INFO), "provenance": {TRAINING_VIDEOS: Fingerprints.of(known).text}})
        path = tmp_path / "two.safetensors"
        checkpoint.save(path, checkpoint.load(weights)[0], TINY, info)
        return path

    moved = tmp_path / "elsewhere"
    shutil.copytree(films, moved)  # content counts, not the place
    for known, says in (
        (videos, ", training videos of the model"),
        (videos[:1], ", 1 of them training videos"),
        ([], ""),
    ):
        bundle = export(trained_on(known), tmp_path / "two.mar", data=moved).bundle
        assert bundle.manifest.variants[0].parity.source == f"12 videos of elsewhere{says}"
        done = run("verify", bundle.path, "--data", moved, "--clips", "12", "--engine", "onnxruntime")
        assert f"12 videos of elsewhere{says}\n" in done.stderr.replace("\n\n", "\n")
    single = export(trained_on(videos), tmp_path / "one.mar", data=videos[0]).bundle
    assert single.manifest.variants[0].parity.source == "0.mp4, a training video of the model"


def test_fingerprints_are_of_the_content(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abcd"]
    files[0].write_bytes(b"x" * 200_000)
    files[1].write_bytes(b"x" * 199_999 + b"y")  # differs in its last byte
    files[2].write_bytes(b"x" * 200_000)
    files[3].write_bytes(b"")
    known = Fingerprints.of([files[0], tmp_path / "gone"])
    assert len(known) == 1
    again = Fingerprints.from_text(known.text)
    assert again.count(files) == 2
    assert again.count([files[1], files[3], tmp_path / "gone"]) == 0
    for text in (None, "", "no base64!", 3):
        assert Fingerprints.from_text(text).count(files) == 0
    many = Fingerprints.of(files * 10_000)
    assert 1 <= len(many) <= 3
