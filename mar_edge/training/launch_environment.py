"""The environment variables with which torchrun, SLURM and LSF describe the processes of a training.

Lightning Fabric reads them when it is imported and when it starts, and expects valid ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from mar_edge.errors import TrainingError

MAX_PROCESSES = 65_536

_COUNTS = (
    "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "SLURM_NTASKS", "SLURM_NNODES", "SLURM_NTASKS_PER_NODE", "JSM_NAMESPACE_SIZE",
)  # fmt: skip
_RANKS = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK",
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK",
)  # fmt: skip
_BOUNDS = {
    **dict.fromkeys(_COUNTS, (1, MAX_PROCESSES)),
    **dict.fromkeys(_RANKS, (0, MAX_PROCESSES - 1)),
    **dict.fromkeys(("MASTER_PORT", "STANDALONE_PORT"), (0, 65_535)),
}
_BELOW = {
    "RANK": "WORLD_SIZE",
    "LOCAL_RANK": "LOCAL_WORLD_SIZE",
    "SLURM_PROCID": "SLURM_NTASKS",
    "SLURM_NODEID": "SLURM_NNODES",
    "JSM_NAMESPACE_RANK": "JSM_NAMESPACE_SIZE",
}
"""Ranks, and the number of processes or nodes that each counts."""


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Check the variables before Fabric is imported.

    Args:
        environment: variables by name.

    Raises:
        TrainingError: if one is not an integer within its bounds, or a rank is not below the number it counts.
    """
    numbers = {}
    for name, (least, most) in _BOUNDS.items():
        text = environment.get(name)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
            raise TrainingError(
                f"{name} is {ascii(text)[:60]}, expected an integer from {least} to {most}. It is set by torchrun or a "
                f"cluster; to train without one, run: unset {name}"
            )
        numbers[name] = int(text)
    for rank, count in _BELOW.items():
        if numbers.get(rank, -1) >= numbers.get(count, MAX_PROCESSES):
            raise TrainingError(
                f"{rank} is {numbers[rank]}, and {count} {numbers[count]}; ranks are counted from 0. Start all processes with "
                f"torchrun or srun, or run: unset {rank} {count}"
            )
