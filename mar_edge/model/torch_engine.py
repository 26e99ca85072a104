"""Runs checkpoints like bundles: the same sampling, preprocessing, windows and averages, with torch instead of a graph."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mar_edge.errors import EngineError, OptionError
from mar_edge.geometry import CELL
from mar_edge.masking import MASK_RATIOS
from mar_edge.model import checkpoint
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.deployed import DeployedGraph, check_classifier, describe, nearest_mask
from mar_edge.model.mar import MAR
from mar_edge.model.streaming import StepGraph, StreamingMAR, attentions
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.engine_set import Unloaded
from mar_edge.runtime.engines.stream_state import StateLayout, StreamState
from mar_edge.runtime.model import Model, check_choice


class TorchEngine(Engine):
    """Torch in FP32, on the GPU if there is one.

    Args:
        spec: the model.
        variant: its mask ratio.
        path: the checkpoint.
        model: a model with classifier; put into evaluation mode and moved to the device.
        threads: CPU threads, for the entire process; None does not change them.
    """

    name = "torch"

    def __init__(
        self, spec: ModelSpec, variant: GraphSpec, path: Path, model: MAR, *, threads: int | None = None
    ) -> None:
        super().__init__(spec, variant, path)
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._graph = _graph(model, variant.mask / 100).to(self._device)
        if isinstance(model, StreamingMAR):
            kept = [(one.heads, one.head_width) for part in model.parts for one in attentions(part)]
            self.layout = StateLayout.of(model.geometry, variant.mask / 100, kept)
            self.max_batch = 8  # a time step alone is little work

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = self._run(torch.tensor(frames))  # a copy: the session owns the window
        return np.asarray(logits.float().cpu().numpy(), np.float32)

    def _step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        kept = zip(*(state.fetch() for state in states), strict=True)
        logits, *fresh = self._run(
            torch.tensor(frames),
            torch.tensor([state.clock for state in states]),
            *(torch.from_numpy(np.concatenate(parts)) for parts in ([state.bias for state in states], *kept)),
        )
        new = [part.cpu().numpy() for part in fresh]
        for index, state in enumerate(states):
            state.write([part[index : index + 1] for part in new])
        return np.asarray(logits.float().cpu().numpy(), np.float32)

    def _run(self, *inputs: torch.Tensor) -> Any:
        try:
            with torch.inference_mode():
                return self._graph(*(one.to(self._device) for one in inputs))
        except RuntimeError as error:  # for instance out of memory
            raise EngineError(f"torch failed on {self.path.name}: {str(error).splitlines()[0]}") from error


def _graph(model: MAR, mask_ratio: float) -> nn.Module:
    """Return what one inference runs: the whole clip, or the step of a streaming model."""
    graph = StepGraph(model, mask_ratio) if isinstance(model, StreamingMAR) else DeployedGraph(model, mask_ratio)
    return graph.eval()


def open_checkpoint(
    path: Path,
    *,
    engine: str = "auto",
    mask: int | Literal["auto"] = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Model:
    """Load a checkpoint as a model that classifies and streams like a bundle.

    Args:
        path: mar-edge's own checkpoint.
        engine: `auto` or `torch`.
        mask: mask ratio in percent; `auto` uses the one it was trained with, otherwise the nearest that can be deployed.
        precision: `auto` or `fp32`.
        threads: CPU threads, for the entire process; None does not change them.

    Raises:
        CheckpointError: if it cannot be read, or has no classifier.
        GeometryError: if its grid has no cells for the mask.
        OptionError: if mask, precision or threads are invalid.
        EngineError: if another engine is requested.
    """
    instead = f"mar-edge export {shlex.quote(str(path))} -o NAME.mar"
    if engine not in ("auto", TorchEngine.name):
        raise EngineError(f"a checkpoint runs in torch, not in {engine}; for {engine} run: {instead}")
    if precision not in ("auto", "fp32"):
        raise OptionError(f"a checkpoint runs in fp32, not in {precision}; for {precision} run: {instead}")
    check_choice(mask, threads)
    model, config, info = checkpoint.load(path)
    check_classifier(path, config)
    percent = nearest_mask(info.mask_ratio) if mask == "auto" else mask
    if percent:
        config.geometry.check_cells()
    spec = describe(path, config, info)

    def engine_at(masked: int) -> TorchEngine:
        variant = GraphSpec(mask=masked, precision="fp32", gmacs=count_macs(config, masked / 100) / 1e9)
        return TorchEngine(spec, variant, path, model, threads=threads)

    whole = any(tokens % CELL for tokens in config.geometry.grid[1:])
    masks = (0,) if whole else tuple(round(100 * ratio) for ratio in MASK_RATIOS)
    others = {masked: Unloaded(count_macs(config, masked / 100) / 1e9, partial(engine_at, masked)) for masked in masks}
    return Model(engine_at(percent), others=others)


def count_macs(config: ModelConfig, mask_ratio: float) -> int:
    """Count the multiply-accumulates of matrix products that an inference needs, without creating the model's weights.

    It sees one clip, or one time step of a streaming model.
    """
    with torch.device("meta"):
        model = build(config)
    graph = _graph(model, mask_ratio).to("meta")
    if isinstance(graph, StepGraph):
        inputs = tuple(one.to("meta") for one in graph.example(batch=1))
    else:
        inputs = (torch.zeros(1, *config.geometry.clip_shape, dtype=torch.uint8, device="meta"),)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        graph(*inputs)
    return int(counter.get_total_flops()) // 2
