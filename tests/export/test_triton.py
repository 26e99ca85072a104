"""Triton model repositories: read by Triton's own schema, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as schema

from mar_edge.bundle import BUILTIN, Bundle, open_bundle
from mar_edge.errors import ExportError, OptionError, OutputError
from mar_edge.export.triton import Serving, quote, write_triton
from mar_edge.files.graph_files import hash_file
from tests.fakes.bundle import manifest, write_bundle

WINDOWED = BUILTIN / "egomotion_window.mar"


def read(folder: Path) -> Any:
    """Parse a config.pbtxt; unknown fields and wrong types are errors."""
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), schema.ModelConfig())


@pytest.fixture
def family(tmp_path: Path) -> Callable[..., Bundle]:
    """Make a bundle of graphs with these (precision, placement)."""

    def make(*kinds: tuple[str, str], **changes: Any) -> Bundle:
        (one,) = manifest()["variants"]
        variants = [
            {**one, "file": f"mask50-{precision}-{placement}.onnx", "precision": precision, "placement": placement}
            for precision, placement in kinds
        ]
        folder = write_bundle(tmp_path / "family.mar", variants=variants, **changes)
        for variant in variants:
            shutil.copy(folder / "mask50-fp32.onnx", folder / variant["file"])
        return Bundle(folder)

    return make


def test_a_repository_serves_the_graph_as_it_is(tmp_path: Path) -> None:
    bundle = open_bundle(WINDOWED)
    names = write_triton(bundle, tmp_path / "models", variants=[bundle.variant(50, "fp32")])
    assert names == ["egomotion_window_mask50_fp32"]
    folder = tmp_path / "models" / names[0]
    assert hash_file(folder / "1" / "model.onnx") == bundle.variant(50, "fp32").sha256
    assert (folder / "labels.txt").read_text().splitlines() == bundle.manifest.labels
    config = read(folder)
    assert config.name == folder.name
    assert config.backend == "onnxruntime"
    # what the graph says of itself, as ONNX Runtime reads it: the batch comes before the dimensions
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    (frames,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (config.input[0].name, list(config.input[0].dims)) == (frames.name, frames.shape[1:])
    assert (config.output[0].name, list(config.output[0].dims)) == (logits.name, logits.shape[1:])
    assert (frames.type, logits.type) == ("tensor(uint8)", "tensor(float)")
    assert (config.input[0].data_type, config.output[0].data_type) == (schema.TYPE_UINT8, schema.TYPE_FP32)
    assert config.output[0].label_filename == "labels.txt"
    assert config.version_policy.latest.num_versions == 1
    zeros = np.zeros((config.max_batch_size, *config.input[0].dims), np.uint8)
    assert np.asarray(session.run(None, {"frames": zeros})[0]).shape == (8, 10)  # the largest batch is one it takes


def test_what_the_server_is_told(family: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = family(
        ("fp32", "any"), ("fp16", "any"), ("bf16", "any"), ("int8-bf16", "cpu"), ("int8", "cpu"), ("int8", "tensorrt")
    )
    serving = Serving(max_batch=16, queue_delay_ms=2.5, instances=2, workspace_mib=512)
    names = write_triton(bundle, tmp_path / "gpu", serving=serving)
    assert names == ["fake_mask50_fp32", "fake_mask50_fp16", "fake_mask50_int8_tensorrt"]
    config = read(tmp_path / "gpu" / "fake_mask50_int8_tensorrt")
    assert config.max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2500
    assert (config.instance_group[0].kind, config.instance_group[0].count) == (schema.ModelInstanceGroup.KIND_GPU, 2)
    (tensorrt,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert tensorrt.name == "tensorrt"
    assert tensorrt.parameters["precision_mode"] == "INT8"
    assert tensorrt.parameters["max_workspace_size_bytes"] == str(512 * 1024 * 1024)
    assert tensorrt.parameters["trt_profile_max_shapes"] == "frames:16x4x32x32x3"
    assert [(w.batch_size, list(w.inputs["frames"].dims)) for w in config.model_warmup] == [
        (1, [4, 32, 32, 3]),
        (16, [4, 32, 32, 3]),
    ]

    names = write_triton(bundle, tmp_path / "cpu", serving=Serving(accelerator="openvino", max_batch=1))
    assert names == ["fake_mask50_fp32", "fake_mask50_fp16", "fake_mask50_int8_cpu"]
    config = read(tmp_path / "cpu" / "fake_mask50_int8_cpu")
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_CPU
    assert config.optimization.execution_accelerators.cpu_execution_accelerator[0].name == "openvino"
    assert not config.HasField("dynamic_batching")  # a batch of one has nothing to wait for
    assert len(config.model_warmup) == 1

    write_triton(bundle, tmp_path / "cpu", serving=Serving(accelerator="none"))
    assert not read(tmp_path / "cpu" / "fake_mask50_int8_cpu").HasField("optimization")


def test_names_and_labels_of_every_kind(family: Callable[..., Bundle], tmp_path: Path) -> None:
    labels = ['say "hello"', "two lines", "back\\slash", "größer", "5% off: now"]
    description = 'tells "all"\n} name: "injected" {'
    bundle = family(("fp32", "any"), name="my model/1", description=description, labels=labels, idle_label=None)
    (name,) = write_triton(bundle, tmp_path / "models")
    assert name == "my_model_1_mask50_fp32"
    assert read(tmp_path / "models" / name).name == name
    assert list(read(tmp_path / "models" / name).output[0].dims) == [5]
    lines = (tmp_path / "models" / name / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ['say "hello"', "two lines", "back\\slash", "größer", "5% off: now"]


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "\x00\x7f\t", "größer 動作", "\\n"])
def test_a_literal_reads_back(text: str) -> None:
    assert text_format.Parse(f"name: {quote(text)}", schema.ModelConfig()).name == text


def test_a_repository_is_replaced_whole_and_nothing_else_is(family: Callable[..., Bundle], tmp_path: Path) -> None:
    out = tmp_path / "models"
    out.mkdir()  # an empty folder may be filled
    write_triton(family(("fp32", "any"), ("fp16", "any")), out)
    assert len(list(out.glob("*_mask50_*"))) == 2
    write_triton(family(("fp32", "any")), out)
    assert [path.name for path in out.glob("*_mask50_*")] == ["fake_mask50_fp32"]
    other = tmp_path / "other"
    other.mkdir()
    assert out.stat().st_mode == other.stat().st_mode  # as readable for the server as any folder
    (other / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and was not written by mar-edge"):
        write_triton(family(("fp32", "any")), other)
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "models"):
        with pytest.raises(OutputError):
            write_triton(family(("fp32", "any")), place)
    assert (other / "mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_fault_leaves_what_was_there(
    family: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    out = tmp_path / "models"
    bundle = family(("fp32", "any"), ("fp16", "any"))
    write_triton(bundle, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    copies = []

    def full(source: Path, target: Path) -> None:
        copies.append(target)
        if len(copies) == 2:
            raise fault

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError if isinstance(fault, OSError) else KeyboardInterrupt):
        write_triton(bundle, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    with pytest.raises(OutputError if isinstance(fault, OSError) else KeyboardInterrupt):
        copies.clear()
        write_triton(bundle, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["family.mar", "models"]


def test_what_cannot_be_served(family: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = family(("bf16", "any"), ("int8", "cpu"))
    with pytest.raises(ExportError, match="no graph that Triton can serve with tensorrt; it has mask 50 bf16"):
        write_triton(bundle, tmp_path / "models")
    with pytest.raises(ExportError, match="cannot serve mask 50 bf16; export fp16 or int8"):
        write_triton(bundle, tmp_path / "models", variants=bundle.manifest.variants[:1])
    assert not (tmp_path / "models").exists()
    with pytest.raises(OptionError, match="max_batch is 0; it must be at least 1"):
        Serving(max_batch=0)
    with pytest.raises(OptionError, match="queue_delay_ms is -1; it must be 0 or more"):
        Serving(queue_delay_ms=-1)
