"""The devices of a training: one CPU process, one or several GPUs, several nodes. Lightning Fabric detects torchrun and SLURM."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from mar_edge.errors import TrainingError
from mar_edge.model.streaming import StreamingMAR
from mar_edge.model.transformer import Block
from mar_edge.training.launch_environment import check_environment
from mar_edge.training.recipe import TrainerPart
from mar_edge.training.state.state_file import StateIO

_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(settings: TrainerPart) -> Fabric:
    """Return a launched Fabric for a recipe's trainer.

    Raises:
        TrainingError: if the devices, the strategy or the precision are not available on this machine.
    """
    check_environment()
    # its messages (precision, processes) repeat the recipe
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    devices: Any = settings.devices
    if devices == "auto" and "LOCAL_WORLD_SIZE" in os.environ:  # torchrun has decided
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU.*")  # rejected below
            fabric = Fabric(
                accelerator=settings.accelerator,
                devices=devices,
                num_nodes=settings.nodes,
                strategy=_strategy(settings, devices),
                precision=_PRECISIONS[settings.precision],  # type: ignore[arg-type]
                plugins=None if settings.strategy == "fsdp" else StateIO(),  # that strategy writes by itself
            )
        if settings.precision == "fp16" and fabric.device.type == "cpu":
            raise ValueError("autocast to fp16 needs a GPU; on a CPU use bf16")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*barrier.*")  # torch's own advice to Fabric
            fabric.launch()
    except KeyError as error:  # a launcher sets all of its variables, or none
        raise TrainingError(
            f"the environment of a cluster or launcher is incomplete: {error} is missing. Start with torchrun or srun, or "
            "unset its variables"
        ) from error
    except (ValueError, RuntimeError, ImportError, OSError) as error:  # Fabric raises these for unavailable devices
        raise TrainingError(
            f"cannot train with accelerator {settings.accelerator}, devices {devices}, nodes {settings.nodes}, strategy "
            f"{settings.strategy}, precision {settings.precision}: {' '.join(str(error).split())}"
        ) from error
    return fabric


def _strategy(settings: TrainerPart, devices: Any) -> Strategy | str:
    if settings.strategy == "fsdp":
        # torch's advice on in-place operations; the model has none
        warnings.filterwarnings("ignore", message=".*FSDP2-wrapped module .* returned a view tensor.*")
        size: Any = devices * settings.nodes if isinstance(devices, int) else "auto"
        return ModelParallelStrategy(
            _shard, data_parallel_size=size, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    if settings.strategy == "ddp" or settings.nodes > 1 or devices not in ("auto", 1):
        return DDPStrategy()
    return "auto"


def _shard(objective: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard every block separately, then the rest (FSDP2)."""
    data = mesh["data_parallel"]
    for module in objective.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=data)
    model = objective.get_submodule("model")
    fully_shard(model, mesh=data)
    register_fsdp_forward_method(model, "joint")
    if isinstance(model, StreamingMAR):  # validation looks at the answer after each step
        register_fsdp_forward_method(model, "every_step")
    fully_shard(objective, mesh=data)
    return objective
