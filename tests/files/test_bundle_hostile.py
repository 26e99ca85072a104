"""Bundles that were made to harm: graphs of any size or time, files that change after the check, doubled entries."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mar_edge
from mar_edge.bundle import BUILTIN, Bundle, open_bundle, write_manifest
from mar_edge.errors import BundleError, CheckpointError, MarEdgeError
from mar_edge.files.checked_file import CheckedFile
from mar_edge.model.bundle_weights import read_bundle
from mar_edge.runtime import model as runtime_model
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.measurement import choice
from tests.fakes.bundle import manifest

NAME = "mask50-fp32.onnx"


def make(
    folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None, graph: onnx.ModelProto | None = None
) -> Path:
    """Write the built-in bundle with a changed manifest or graph, and hashes that fit."""
    shutil.copytree(BUILTIN / "egomotion.mar", folder)
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if graph is not None:
        (folder / NAME).write_bytes(graph.SerializeToString())
    for variant in values["variants"]:
        data = (folder / variant["file"]).read_bytes()
        variant |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    change(values)
    write_manifest(folder, {key: value for key, value in values.items() if key not in ("sha256", "format")})
    return folder


def graph_with(operator: str, domain: str = "") -> onnx.ModelProto:
    """Return the built-in graph with one node more."""
    graph = onnx.load(str(BUILTIN / "egomotion.mar" / NAME))
    graph.graph.initializer.append(numpy_helper.from_array(np.array([10**6, 10**6]), "huge"))
    graph.graph.node.append(helper.make_node(operator, ["huge"], ["unused"], domain=domain))
    return graph


@pytest.mark.parametrize(
    ("operator", "says"),
    [
        ("ConstantOfShape", "whose output may have any size"),
        ("Expand", "whose output may have any size"),
        ("Tile", "whose output may have any size"),
        ("RandomUniform", "whose output may have any size"),
        ("Loop", "which may run for ever"),
        ("Scan", "which may run for ever"),
        ("If", "which may run for ever"),
    ],
)
def test_operators_of_any_size_or_time_are_refused(tmp_path: Path, operator: str, says: str) -> None:
    bundle = make(tmp_path / "x.mar", graph=graph_with(operator))
    with pytest.raises(BundleError, match=f"has the operator {operator}, {says}"):
        open_bundle(bundle)


def test_operators_of_other_domains_and_in_functions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Evil, of the domain 'com.evil'"):
        open_bundle(make(tmp_path / "domain.mar", graph=graph_with("Evil", "com.evil")))
    graph = graph_with("Identity")
    graph.functions.append(
        helper.make_function(
            "", "Hidden", ["x"], ["y"], [helper.make_node("Tile", ["x", "x"], ["y"])], [helper.make_opsetid("", 17)]
        )
    )
    with pytest.raises(BundleError, match="Tile"):
        open_bundle(make(tmp_path / "function.mar", graph=graph))


def swapped(path: Path) -> bytes:
    """Return a graph with another result."""
    graph = onnx.load(str(path))
    for tensor in graph.graph.initializer:
        if list(tensor.dims) == [10]:
            tensor.raw_data = (np.arange(10) * 100.0).astype(np.float32).tobytes()
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_graph_that_is_exchanged_between_check_and_load_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, how: str
) -> None:
    bundle = make(tmp_path / "x.mar")
    graph, real = bundle / NAME, choice.choose

    def swap(*args: Any, **options: Any) -> Any:
        data = swapped(graph)
        if how == "replaced":
            (tmp_path / "new").write_bytes(data)
            os.utime(tmp_path / "new", ns=(graph.stat().st_atime_ns, graph.stat().st_mtime_ns))
            os.replace(tmp_path / "new", graph)
        else:
            graph.write_bytes(data)
        return real(*args, **options)

    monkeypatch.setattr(runtime_model, "choose", swap)
    with pytest.raises(BundleError, match="was changed while it was loaded"):
        mar_edge.load(bundle, engine=engine)


def test_a_file_that_is_put_back_after_the_load_is_noticed(tmp_path: Path) -> None:
    bundle = open_bundle(make(tmp_path / "x.mar"))
    (variant,) = bundle.manifest.variants
    graph = bundle.graph_path(variant)
    os.rename(graph, tmp_path / "kept")
    graph.write_bytes((tmp_path / "kept").read_bytes())
    with pytest.raises(BundleError, match="was changed"):
        bundle.check_unchanged(variant)
    os.rename(tmp_path / "kept", graph)
    bundle.check_unchanged(variant)  # the same file with the same bytes; its change time differs, so it is hashed again


def test_a_bundle_that_was_not_checked_is_hashed_after_the_load(tmp_path: Path) -> None:
    bundle = Bundle(make(tmp_path / "x.mar"))
    (variant,) = bundle.manifest.variants
    create_engine(bundle, variant)
    bundle.graph_path(variant).write_bytes(swapped(bundle.graph_path(variant)))
    with pytest.raises(BundleError, match="sha256 differs"):
        create_engine(Bundle(bundle.path), variant)


def test_a_write_within_the_resolution_of_time_stamps_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 100)
    checked = CheckedFile.read(path)
    assert checked.is_unchanged()
    stamps = path.stat()
    path.write_bytes(b"b" * 100)
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    assert not checked.is_unchanged()
    time.sleep(0.15)
    settled = CheckedFile.read(path)
    assert settled.is_unchanged() and settled._settled


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["variants"].append(copy.deepcopy(v["variants"][0])), f"the file {NAME} is listed twice"),
        (lambda v: v["variants"].append({**v["variants"][0], "file": "MASK50-fp32.onnx"}), "listed twice"),
        (lambda v: v["variants"].append({**v["variants"][0], "file": "other.onnx"}), "the graph mask 50 fp32 is listed twice"),
    ],
)  # fmt: skip
def test_what_is_listed_twice_is_refused(tmp_path: Path, change: Callable[[Any], object], says: str) -> None:
    def with_files(values: dict[str, Any]) -> None:
        change(values)
        for variant in values["variants"]:
            if not (tmp_path / "x.mar" / variant["file"]).exists():
                shutil.copy(tmp_path / "x.mar" / NAME, tmp_path / "x.mar" / variant["file"])

    with pytest.raises(BundleError, match=says):
        open_bundle(make(tmp_path / "x.mar", with_files))


def test_files_that_the_manifest_does_not_list_are_named_and_not_read(tmp_path: Path) -> None:
    path = make(tmp_path / "x.mar")
    (path / "evil.so").write_bytes(b"x")
    (path / "mask75-fp32.onnx").write_bytes(b"x")
    assert open_bundle(path).unlisted() == ["evil.so", "mask75-fp32.onnx"]
    assert mar_edge.load(path).labels


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 40_000, "heads": 1}, "width is 40000"),
        ({"width": 16_384, "heads": 1}, "does not fit its own configuration"),
        ({"depth": 1_000_000}, "depth is 1000000"),
        ({"depth": 256}, "mar-edge's layout"),
        ({"depth": 1}, "mar-edge's layout"),
        ({"width": "x"}, "width is 'x'"),
        ({"evil": 1}, "unknown keys"),
    ],
)
def test_an_architecture_that_the_graph_does_not_have(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    bundle = make(tmp_path / "x.mar", lambda values: values["architecture"].update(change))
    with pytest.raises(CheckpointError, match=says):
        read_bundle(open_bundle(bundle))


@pytest.mark.parametrize(
    "change",
    [
        {"geometry": {"frames": 1024, "height_px": 64, "width_px": 64, "tubelet_frames": 2, "patch_px": 16}},
        {"geometry": {"frames": 2_000_000_000, "height_px": 64, "width_px": 64, "tubelet_frames": 2, "patch_px": 16}},
        {"geometry": {"frames": 16, "height_px": 4096, "width_px": 4096, "tubelet_frames": 2, "patch_px": 16}},
        {"labels": [str(number) for number in range(100_000)], "idle_label": None},
        {"rate_fps": 1e300},
        {"rate_fps": 1e-300},
    ],
)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_description_that_its_graph_does_not_have(tmp_path: Path, change: dict[str, Any], engine: str) -> None:
    bundle = make(tmp_path / "x.mar", lambda values: values.update(change))
    with pytest.raises(MarEdgeError):
        mar_edge.load(bundle, engine=engine)


def test_the_format_must_be_an_integer(tmp_path: Path) -> None:
    (tmp_path / "x.mar").mkdir()
    wrongs: tuple[Any, ...] = (True, 1.0, "3", None, [], 0, -1)
    for wrong in wrongs:
        (tmp_path / "x.mar" / "manifest.json").write_text(json.dumps(manifest(format=wrong)), encoding="utf-8")
        with pytest.raises(BundleError, match="has format"):
            open_bundle(tmp_path / "x.mar")


def test_the_types_of_tensors_are_those_of_onnx() -> None:
    assert TensorProto.FLOAT == 1  # the operators are read without onnx, by the numbers of its schema
    fields = {field.name: field.number for field in onnx.NodeProto.DESCRIPTOR.fields}
    assert (fields["op_type"], fields["domain"]) == (4, 7)
    assert onnx.GraphProto.DESCRIPTOR.fields_by_name["node"].number == 1
    assert onnx.FunctionProto.DESCRIPTOR.fields_by_name["node"].number == 7
