"""Weights beside a graph: found wherever ONNX may have them, checked as the graph is, and never left behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from mar_edge import bundle as bundles
from mar_edge.bundle import Bundle, open_bundle
from mar_edge.errors import BundleError
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.exporter import export
from mar_edge.export.int8 import calibrate
from mar_edge.export.triton import write_triton
from mar_edge.files.graph_files import copy_graph, hash_file, hash_graph, remove_graph, weight_files, weight_names
from mar_edge.manifest import digest_of
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.measurement.choice import _file_name
from tests.fakes.family import clips, write_family

DATA = "mask50-fp32.onnx.data"


def outside(location: str, name: str = "w") -> TensorProto:
    """A tensor whose values lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def in_initializer(graph: GraphProto, model: ModelProto) -> None:
    graph.initializer.append(outside("a.data"))


def in_sparse(graph: GraphProto, model: ModelProto) -> None:
    graph.sparse_initializer.add().values.CopyFrom(outside("a.data"))
    graph.sparse_initializer[0].indices.CopyFrom(outside("b.data"))


def in_constant(graph: GraphProto, model: ModelProto) -> None:
    graph.node.append(helper.make_node("Constant", [], ["c"], value=outside("a.data")))


def in_list(graph: GraphProto, model: ModelProto) -> None:
    attribute = AttributeProto(name="t", type=AttributeProto.TENSORS, tensors=[outside("a.data"), outside("b.data")])
    graph.node.add(op_type="X").attribute.append(attribute)


def in_branch(graph: GraphProto, model: ModelProto) -> None:
    inner = GraphProto(name="inner", initializer=[outside("a.data")])
    graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))
    graph.node.append(helper.make_node("X", [], [], bodies=[GraphProto(initializer=[outside("b.data")])]))


def in_function(graph: GraphProto, model: ModelProto) -> None:
    function = model.functions.add(name="f")
    function.node.append(helper.make_node("Constant", [], ["c"], value=outside("a.data")))


def in_training(graph: GraphProto, model: ModelProto) -> None:
    model.training_info.add().initialization.initializer.append(outside("a.data"))
    model.training_info[0].algorithm.initializer.append(outside("b.data"))


PLACES: list[tuple[Callable[[GraphProto, ModelProto], None], list[str]]] = [
    (in_initializer, ["a.data"]),
    (in_sparse, ["a.data", "b.data"]),
    (in_constant, ["a.data"]),
    (in_list, ["a.data", "b.data"]),
    (in_branch, ["a.data", "b.data"]),
    (in_function, ["a.data"]),
    (in_training, ["a.data", "b.data"]),
]


@pytest.mark.parametrize(("put", "names"), PLACES)
def test_every_place_where_onnx_has_tensors(
    tmp_path: Path, put: Callable[[GraphProto, ModelProto], None], names: list[str]
) -> None:
    model = helper.make_model(helper.make_graph([], "g", [], [], [numpy_helper.from_array(np.ones(3), "inside")]))
    put(model.graph, model)
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    assert sorted(weight_names(tmp_path / "g.onnx")) == names


@pytest.mark.parametrize(
    "location", ["../a", "/etc/passwd", "a/b", "", ".", "..", ".hidden", "a\n", "*/_ORT_MEM_ADDR_/*"]
)
def test_names_that_lead_elsewhere_are_told_and_never_opened(tmp_path: Path, location: str) -> None:
    model = helper.make_model(helper.make_graph([], "g", [], [], [outside(location)]))
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    assert weight_names(tmp_path / "g.onnx") == [location]
    with pytest.raises(BundleError, match="which is not a file beside it"):
        weight_files(tmp_path / "g.onnx")


def test_what_is_no_graph_has_no_weights_and_what_a_parser_may_skip_is_refused(tmp_path: Path) -> None:
    graph = tmp_path / "g.onnx"
    for content in (b"", b"not a graph", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"\x08", os.urandom(0)):
        graph.write_bytes(content)
        assert weight_names(graph) == []
    model = helper.make_model(helper.make_graph([], "g", [], [], [outside("../secret")]))
    whole = model.SerializeToString()
    graph.write_bytes(b"\xa3\x06\xa4\x06" + whole)  # field 100 as an empty group, which protobuf skips
    onnx.load_from_string(graph.read_bytes())
    with pytest.raises(BundleError, match="does not have the encoding of ONNX graphs"):
        weight_names(graph)
    with pytest.raises(BundleError, match="cannot be read"):
        weight_names(tmp_path / "none.onnx")


def externalise(bundle: Bundle) -> Bundle:
    """Move the weights of the FP32 graph beside it, as the exporter does with large ones."""
    graph = bundle.path / "mask50-fp32.onnx"
    onnx.save_model(
        onnx.load(str(graph)), str(graph), save_as_external_data=True, location=DATA, size_threshold=1024
    )  # fmt: skip
    values = json.loads((bundle.path / "manifest.json").read_text())
    for variant in values["variants"]:
        variant["sha256"] = hash_file(bundle.path / variant["file"])
    bundles.write_manifest(bundle.path, {key: value for key, value in values.items() if key != "format"})
    return Bundle(bundle.path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return externalise(write_family(tmp_path_factory.mktemp("family") / "a.mar", precisions=("fp32", "fp16"))).path


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a.mar"))


def test_a_bundle_lists_and_counts_them(bundle: Path) -> None:
    opened = open_bundle(bundle)
    fp32, fp16 = opened.manifest.variants
    assert fp32.files == ("mask50-fp32.onnx", DATA)
    assert fp32.total_bytes == sum((bundle / name).stat().st_size for name in fp32.files)
    assert fp32.size_bytes == (bundle / fp32.file).stat().st_size
    assert fp16.files == (fp16.file,)
    assert fp16.digest == fp16.sha256
    assert fp32.digest == hash_graph(bundle / fp32.file) != fp32.sha256
    assert "weights" not in json.loads((bundle / "manifest.json").read_text())["variants"][1]


@pytest.mark.parametrize("at", [0, 100, -1])
def test_a_changed_byte_is_found(bundle: Path, at: int) -> None:
    content = bytearray((bundle / DATA).read_bytes())
    content[at] ^= 1
    (bundle / DATA).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{DATA} is not the file that was exported"):
        open_bundle(bundle)


def test_weights_that_are_missing_or_longer_are_found(bundle: Path) -> None:
    with (bundle / DATA).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=rf"{DATA} is not the file that was exported"):
        open_bundle(bundle)
    (bundle / DATA).unlink()
    with pytest.raises(BundleError, match=f"lacks {DATA}"):
        open_bundle(bundle)


def test_weights_that_the_manifest_does_not_list_are_refused(bundle: Path) -> None:
    values = json.loads((bundle / "manifest.json").read_text())
    del values["variants"][0]["weights"]
    values["sha256"] = digest_of(values)
    (bundle / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=rf"stores weights in '{DATA}', which manifest\.json does not list"):
        open_bundle(bundle)


def test_the_manifest_covers_every_file(bundle: Path) -> None:
    files = {path.name for path in bundle.iterdir()} - {"manifest.json"}
    assert files == {name for variant in open_bundle(bundle).manifest.variants for name in variant.files}
    assert DATA in files
    for name in files:
        whole = (bundle / name).read_bytes()
        for changed in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2], b"", whole + b"x"):
            (bundle / name).write_bytes(changed)
            with pytest.raises(BundleError, match=name):
                open_bundle(bundle)
        (bundle / name).write_bytes(whole)
    open_bundle(bundle)


def test_a_link_is_not_listed(bundle: Path) -> None:
    (bundle / DATA).rename(bundle.parent / "elsewhere")
    (bundle / DATA).symlink_to("../elsewhere")
    values = json.loads((bundle / "manifest.json").read_text())
    bundles.write_manifest(bundle, values)
    with pytest.raises(BundleError, match="does not list"):
        open_bundle(bundle)


def test_copies_compute_the_same(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    fp32 = opened.manifest.variants[0]
    logits = create_engine(opened, fp32).infer(clips(2))
    for engine in ("onnxruntime", "openvino"):
        assert np.allclose(create_engine(opened, fp32, engine).infer(clips(2)), logits, atol=1e-4)
    (name, _) = write_triton(opened, tmp_path / "models")
    served = tmp_path / "models" / name / "1"
    assert sorted(path.name for path in served.iterdir()) == [DATA, "model.onnx"]
    onnx.checker.check_model(str(served / "model.onnx"))
    write_triton(opened, tmp_path / "models")  # all of it is known as ours
    again = export(bundle, tmp_path / "b.mar", precisions=["fp32"])
    assert np.allclose(
        create_engine(again.bundle, again.bundle.manifest.variants[0]).infer(clips(2)), logits, atol=1e-4
    )
    (tmp_path / "c").mkdir()
    copy_graph(opened.graph_path(fp32), tmp_path / "c" / "g.onnx")
    assert hash_graph(tmp_path / "c" / "g.onnx") == fp32.digest
    remove_graph(tmp_path / "c" / "g.onnx")
    assert not list((tmp_path / "c").iterdir())


def test_what_is_remembered_of_a_graph_is_not_that_of_other_weights(bundle: Path) -> None:
    before = open_bundle(bundle)
    (bundle / DATA).write_bytes(bytes((bundle / DATA).stat().st_size))
    values = json.loads((bundle / "manifest.json").read_text())
    bundles.write_manifest(bundle, values)
    after = open_bundle(bundle)
    assert before.manifest.variants[0].sha256 == after.manifest.variants[0].sha256
    assert before.manifest.variants[0].digest != after.manifest.variants[0].digest
    assert _file_name(before, None) != _file_name(after, None)


def test_export_and_calibrate_write_and_leave_out_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a model of more than 1.5 GiB, on a small one."""
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 1000)
    source = write_family(tmp_path / "a.mar", precisions=("fp32",)).path
    assert sorted(path.name for path in source.iterdir()) == ["manifest.json", "mask50-fp32.onnx", DATA]
    open_bundle(source)
    half = export(source, tmp_path / "b.mar", precisions=["fp16"]).bundle
    assert sorted(path.name for path in half.path.iterdir()) == ["manifest.json", "mask50-fp16.onnx"]
    int8 = calibrate(source, CalibrationOptions(clips=2, method="minmax"), out=tmp_path / "c.mar").bundle
    assert {"manifest.json", "mask50-fp32.onnx", DATA} <= {path.name for path in int8.path.iterdir()}
    open_bundle(int8.path)
