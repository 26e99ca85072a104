"""Turns a MAR model into a static ONNX graph and counts its work."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
import torch
from onnx import ModelProto, shape_inference

from mar_edge.errors import ExportError
from mar_edge.geometry import Geometry
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.mar import MAR

OPSET = 18
"""LayerNormalization is one operator from 17 on; the parsers of TensorRT 10.3 to 11 and ONNX Runtime read it."""


def write_graph(model: MAR, mask_ratio: float, path: Path) -> None:
    """Export a model at a mask ratio to an ONNX file with dynamic batch.

    Raises:
        GeometryError: if the model's grid has no cells for the mask.
        ExportError: if torch cannot export it, or the file would be larger than ONNX allows.
    """
    graph = DeployedGraph(model, mask_ratio).eval()
    geometry: Geometry = model.encoder.geometry
    # two clips: the exporter would take a batch of one for a constant
    example = torch.zeros(2, *geometry.clip_shape, dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (example,),
                input_names=["frames"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"frames": {0: torch.export.Dim("batch", min=1, max=1024)}},
                optimize=True,
                verbose=False,
            )
        assert program is not None
        program.save(str(path), external_data=False)
        onnx.checker.check_model(str(path))
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch cannot export the model at mask {mask_ratio:g}: {error}") from error
    except ValueError as error:  # protobuf's 2 GiB limit
        raise ExportError(
            f"the graph at mask {mask_ratio:g} does not fit into one ONNX file of 2 GiB: {error}"
        ) from error


def count_macs(path: Path) -> int:
    """Count the multiply-accumulates that a graph needs for one clip.

    Counted are matrix products and convolutions, as `torch.utils.flop_counter` and the papers do; norms, softmax,
    GELU and sums are not.

    Raises:
        ExportError: if a shape cannot be found out.
    """
    model = onnx.load(str(path), load_external_data=False)
    shapes = _shapes(model)
    total = 0
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            left, out = shapes.get(node.input[0]), shapes.get(node.output[0])
            if not left or not out:
                raise ExportError(f"cannot count {node.op_type} '{node.name}' of {path.name}: its shape is unknown")
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            total += prod(out) * left[0 if transposed else -1]
        elif node.op_type in ("Conv", "ConvTranspose", "Einsum", "Attention"):
            raise ExportError(f"cannot count {node.op_type} '{node.name}' of {path.name}: our graphs have none")
    return total


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """Infer all shapes for a batch of one."""
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.shape.dim[0].dim_param:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes = {tensor.name: list(tensor.dims) for tensor in inferred.graph.initializer}
    for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if all(dims):
            shapes[value.name] = dims
    return shapes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns about its own internals."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
