"""Reads a bundle's FP32 graph back into a model, so that a bundle can be trained further, or exported again."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import nn

from mar_edge.bundle import Bundle
from mar_edge.errors import CheckpointError
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build, shapes
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.graph_view import GraphView
from mar_edge.model.mar import MAR
from mar_edge.model.stored_shapes import check_shapes
from mar_edge.runtime.engines.registry import create_engine

_Array: TypeAlias = NDArray[np.float32]
_NONE: _Array = np.zeros(0, np.float32)

POSITIONS = "encoder.positions"

BOUND = 1e-3
"""Largest difference of a logit between the graph and the model read from it, relative to the largest logit."""


def read_bundle(bundle: Bundle) -> tuple[MAR, ModelConfig, CheckpointInfo]:
    """Return the model of a bundle, without the decoder, which is never exported.

    Args:
        bundle: a checked bundle.

    Raises:
        CheckpointError: if the bundle has no FP32 graph, or the graph does not have mar-edge's layout.
    """
    manifest = bundle.manifest
    variants = [variant for variant in manifest.variants if variant.precision == "fp32"]
    if not variants:
        raise CheckpointError(f"the bundle {manifest.name} has no fp32 graph to read weights from")
    config = ModelConfig.of_spec(manifest)
    place = f"the graph {variants[0].file} of {manifest.name}"
    graph = GraphView.read(bundle.graph_path(variants[0])).model
    bundle.check_unchanged(variants[0])
    try:
        state, table = _read_state(config, graph)
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{place} does not have mar-edge's layout: {error}") from error
    expected_table = {POSITIONS: shapes(config)[POSITIONS]}
    check_shapes(config, {name: tuple(array.shape) for name, array in state.items()} | expected_table, place)
    model = build(config)
    try:
        deployed = DeployedGraph(model, variants[0].mask / 100)
        state[POSITIONS] = _positions(model, table, deployed.visible.numpy())
        model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{place} does not have mar-edge's layout: {error}") from error
    clips = np.random.default_rng(0).integers(0, 256, (2, *manifest.geometry.clip_shape), dtype=np.uint8)
    with torch.no_grad():
        got = deployed.eval()(torch.from_numpy(clips)).numpy()
    expected = create_engine(bundle, variants[0], "onnxruntime").infer(clips)
    if not np.abs(got - expected).max() <= BOUND * max(1.0, float(np.abs(expected).max())):
        raise CheckpointError(
            f"the weights read from {variants[0].file} of {manifest.name} do not reproduce its outputs"
        )
    info = CheckpointInfo(
        name=manifest.name,
        description=manifest.description,
        licence=manifest.licence,
        labels=list(manifest.labels),
        rate_fps=manifest.rate_fps,
        resize=manifest.resize,
        sampling=manifest.sampling,
        mask_ratio=manifest.trained_mask / 100,
        idle_label=manifest.idle_label,
        events=manifest.events,
        clip_answer=manifest.clip_answer,
        provenance=dict(manifest.provenance),
    )
    return model, config, info


def _read_state(config: ModelConfig, graph: ModelProto) -> tuple[dict[str, _Array], _Array]:
    """Collect a model's tensors by their order in the graph: names are not kept, as equal constants are merged.

    Returns:
        All tensors but the position table by name, and the table, of which a graph may contain only the visible rows.
    """
    if config.depth > len(graph.graph.node):
        raise ValueError(f"it has {len(graph.graph.node)} nodes for {config.depth} blocks")
    with torch.device("meta"):  # the names without memory
        model = build(config)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    added = {name: node for node in graph.graph.node if node.op_type == "Add" for name in node.input}
    linears: list[tuple[_Array, _Array]] = []  # weight (out, in), bias
    norms: list[list[_Array]] = []
    gains: list[_Array] = []
    tables: list[_Array] = []
    for node in graph.graph.node:
        given = [constants[name] for name in node.input if name in constants]
        if node.op_type == "MatMul" and given:
            sums = added.get(node.output[0])
            biases = [constants[name] for name in (sums.input if sums else ()) if name in constants]
            linears.append((given[0].T, biases[0] if biases else _NONE))
        elif node.op_type == "Gemm":
            linears.append((given[0], given[1] if len(given) > 1 else np.zeros(len(given[0]), np.float32)))
        elif node.op_type == "LayerNormalization":
            norms.append(given)
        elif node.op_type == "Mul" and given and given[0].shape == (model.encoder.embed.out_features,):
            gains.append(given[0])
        elif node.op_type in ("Add", "Gather"):  # a step graph gathers from tables of its clock as well
            tables += [table for table in given if table.dtype == np.float32 and table.shape[1:] == (config.width,)]
    if not tables:
        raise ValueError(f"it does not fit its own configuration: no table of positions is {config.width} wide")
    state: dict[str, _Array] = {}
    parts = dict(model.named_modules())
    for name, (weight, bias) in zip(_of(parts, nn.Linear), linears, strict=True):
        state[f"{name}.weight"] = weight
        if name.endswith("attn.qkv"):  # the graph has one bias for query, key and value
            parent = name.removesuffix("qkv")
            state[f"{parent}q_bias"], _, state[f"{parent}v_bias"] = np.split(bias, 3)
        elif bias is not _NONE:
            state[f"{name}.bias"] = bias
    for name, (scale, shift) in zip(_of(parts, nn.LayerNorm), norms, strict=True):
        state[f"{name}.weight"], state[f"{name}.bias"] = scale, shift
    gain_names = [name for name, _ in model.named_parameters() if ".gamma_" in name]
    state |= dict(zip(gain_names, gains, strict=True))
    return state, tables[0]


def _of(parts: dict[str, nn.Module], kind: type[nn.Module]) -> list[str]:
    return [name for name, part in parts.items() if isinstance(part, kind)]


def _positions(model: MAR, table: _Array, visible: NDArray[np.int64]) -> _Array:
    """Return the full position table; a graph may contain only the visible rows, which equal ours up to a factor."""
    ours = model.encoder.positions.numpy()
    if table.shape == ours.shape:
        return table
    if table.shape != (len(visible), ours.shape[1]):
        raise ValueError(f"it has a position table of {table.shape}")
    return ours * np.float32((table * ours[visible]).sum() / np.square(ours[visible]).sum())
