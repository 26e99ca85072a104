"""Turns a MAR model into a static ONNX graph and counts its work."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from mar_edge.errors import ExportError
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.graph_view import GraphView
from mar_edge.model.mar import MAR
from mar_edge.model.streaming import StepGraph, StreamingMAR

OPSET = 19
"""LayerNormalization is one operator from 17 on, and Q/DQ scales may be FP16 from 19 on; the parsers of TensorRT 10.3
to 11, ONNX Runtime and OpenVINO read it."""

FIXED_INPUTS = 3
"""Inputs of a step graph before the keys and values that are kept: frames, step and bias."""


def write_graph(model: MAR, mask_ratio: float, path: Path) -> None:
    """Export a model at a mask ratio to an ONNX file with dynamic batch; of a streaming model its step.

    Raises:
        GeometryError: if the model's grid has no cells for the mask.
        ExportError: if torch cannot export it, or the file would be larger than ONNX allows.
    """
    graph, examples, inputs, outputs = _traced(model, mask_ratio)
    batch = torch.export.Dim("batch", min=1, max=1024)
    first = [{0: batch}] * len(examples)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                examples,
                input_names=inputs,
                output_names=outputs,
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=first[:1] if len(first) == 1 else (*first[:FIXED_INPUTS], tuple(first[FIXED_INPUTS:])),
                optimize=True,
                verbose=False,
            )
        assert program is not None
        _name_by_part(program.model)
        program.save(str(path), external_data=False)
        onnx.checker.check_model(str(path))
    except torch.onnx.OnnxExporterError as error:
        if _interrupted(error):
            raise KeyboardInterrupt from error
        raise ExportError(f"torch cannot export the model at mask {mask_ratio:g}: {error}") from error
    except ValueError as error:  # protobuf's 2 GiB limit
        raise ExportError(
            f"the graph at mask {mask_ratio:g} does not fit into one ONNX file of 2 GiB: {error}"
        ) from error


def _traced(model: MAR, mask_ratio: float) -> tuple[nn.Module, tuple[Tensor, ...], list[str], list[str]]:
    """Return what is traced, example inputs, and the names of inputs and outputs."""
    # two clips: the exporter would treat a batch of one as a constant
    if not isinstance(model, StreamingMAR):
        frames = torch.zeros(2, *model.encoder.geometry.clip_shape, dtype=torch.uint8)
        return DeployedGraph(model, mask_ratio).eval(), (frames,), ["frames"], ["logits"]
    graph = StepGraph(model, mask_ratio).eval()
    inputs = graph.example(batch=2)
    kept = [f"{kind}{layer}" for layer in range(len(graph.shapes)) for kind in "kv"]
    names = [f"past_{name}" for name in kept]
    return graph, inputs, ["frames", "step", "bias", *names], ["logits", *(f"new_{name}" for name in kept)]


def _interrupted(error: BaseException) -> bool:
    """Return whether an error of torch's exporter was caused by Ctrl-C."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _name_by_part(graph: ir.Model) -> None:
    """Name every node `PART/OPERATOR`, or `PART/OPERATOR_2` for a second one, and its outputs in the same way.

    The names appear in layer reports of engines, and identify parts that are kept in a precision. Other notes of the
    exporter are removed: stack traces with paths of this machine.
    """
    seen: Counter[str] = Counter()
    part = ""
    outputs = set(graph.graph.outputs)
    graph.metadata_props.clear()
    graph.graph.metadata_props.clear()
    for value in [*graph.graph.inputs, *graph.graph.initializers.values()]:
        value.metadata_props.clear()
    for node in graph.graph:
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        modules = [scope for scope in scopes[:-1] if scope.startswith("model.")]
        if scopes:  # nodes added by the exporter belong to the previous part
            part = modules[-1].removeprefix("model.") if modules else ""
        base = f"{part}/{node.op_type}"
        seen[base] += 1
        node.name = base if seen[base] == 1 else f"{base}_{seen[base]}"
        node.metadata_props.clear()
        node.doc_string = None
        for index, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if value not in outputs:
                value.name = node.name if len(node.outputs) == 1 else f"{node.name}:{index}"


def count_macs(path: Path) -> int:
    """Count the multiply-accumulates that a graph needs for one clip.

    Matrix products and convolutions are counted, as in `torch.utils.flop_counter` and the papers; norms, softmax,
    GELU and sums are not.

    Raises:
        ExportError: if a shape is unknown.
    """
    return sum(product.macs for product in GraphView.read(path).products)


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
