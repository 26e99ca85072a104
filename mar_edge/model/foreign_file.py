"""Reads files of foreign checkpoints. Nothing in them is executed: pickles are read with `weights_only=True`."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mar_edge.errors import CheckpointError

State = dict[str, Tensor]

_WRAPPERS = ("model", "module", "state_dict", "model_state", "model_state_dict")

# what torch and safetensors raise on damaged files, found by feeding them some
_DAMAGE = (
    SafetensorError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError,
)  # fmt: skip


def locate(path: Path) -> Path:
    """Find the weights file: the path itself, or in a Hugging Face folder.

    Raises:
        CheckpointError: if there is none.
    """
    if path.is_dir():
        names = ("model.safetensors", "pytorch_model.bin")
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise CheckpointError(f"{path} holds neither {' nor '.join(names)}")
        path = found
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}")
    return path


def read_config(file: Path) -> dict[str, Any]:
    """Read a Hugging Face config.json.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            "a Hugging Face checkpoint needs the config.json that came with it in the same folder"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} is not that of a VideoMAE model")
    return config


def read_tensors(file: Path) -> State:
    """Read the tensors of a `.safetensors` file, or of a pickle without running anything in it, as float32.

    Raises:
        CheckpointError: if the file is damaged, would run code, or holds no tensors.
    """
    try:
        if file.suffix == ".safetensors":
            values: Any = load_file(file)
        else:
            # the published VideoMAE files keep their command line in an argparse.Namespace, which holds data only
            with torch.serialization.safe_globals([argparse.Namespace]):
                values = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} is damaged, or a pickle that would run code; it was not opened further. "
            "Ask its author for a .safetensors file"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"{file} cannot be read, it is damaged or no checkpoint ({type(error).__name__})"
        ) from error
    for _ in range(2):
        for key in _WRAPPERS:
            if isinstance(values, dict) and isinstance(values.get(key), dict):
                values = values[key]
    state = {k: v for k, v in values.items() if isinstance(v, Tensor)} if isinstance(values, dict) else {}
    if not state:
        raise CheckpointError(f"{file} holds no tensors")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return {key: value.float() for key, value in state.items()}
