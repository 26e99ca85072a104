"""Runs checkpoints like bundles: the same sampling, preprocessing, windows and averages, with torch instead of a graph."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from mar_edge.errors import EngineError, OptionError
from mar_edge.model import checkpoint
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.deployed import DeployedGraph, check_classifier, describe, nearest_mask
from mar_edge.model.mar import MAR
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.runtime.engines.engine import Engine
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
        self._graph = DeployedGraph(model, variant.mask / 100).eval().to(self._device)

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            with torch.inference_mode():
                # a copy: the session owns the window
                logits = self._graph(torch.tensor(frames, device=self._device))
        except RuntimeError as error:  # for instance out of memory
            raise EngineError(f"torch failed on {self.path.name}: {str(error).splitlines()[0]}") from error
        return np.asarray(logits.float().cpu().numpy(), np.float32)


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
    variant = GraphSpec(mask=percent, precision="fp32", gmacs=count_macs(config, percent / 100) / 1e9)
    return Model(TorchEngine(describe(path, config, info), variant, path, model, threads=threads))


def count_macs(config: ModelConfig, mask_ratio: float) -> int:
    """Count the multiply-accumulates of matrix products that a model needs for one clip, without creating its weights."""
    with torch.device("meta"):
        model = build(config)
        frames = torch.zeros(1, *config.geometry.clip_shape, dtype=torch.uint8)
    graph = DeployedGraph(model, mask_ratio).eval().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        graph(frames)
    return int(counter.get_total_flops()) // 2
