"""Weights and numbers of the reference implementations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

BOUND = 1e-5


def write_foreign(golden: Path, name: str, folder: Path) -> Path:
    """Write a golden's weights as the file that its project would publish."""
    tensors = load_file(golden / f"{name}.safetensors")
    state = {key.removeprefix("state."): value for key, value in tensors.items() if key.startswith("state.")}
    if name.startswith("hf"):
        notes = json.loads((golden / f"{name}.json").read_text())
        (folder / "config.json").write_text(json.dumps(notes["config"]))
        save_file(state, folder / "model.safetensors")
        return folder / "model.safetensors"
    torch.save({"model": state}, folder / f"{name}.pth")
    return folder / f"{name}.pth"


def close(got: Tensor, expected: Tensor, bound: float = BOUND) -> None:
    """Check the largest difference relative to the largest magnitude."""
    assert got.shape == expected.shape
    got = got.detach()
    error = float((got.double() - expected.double()).abs().max() / expected.double().abs().max())
    assert error <= bound, f"relative error {error:.2e} > {bound:.0e}"


State = dict[str, Tensor]


def state_of(golden: Path, name: str) -> State:
    tensors = load_file(golden / f"{name}.safetensors")
    return {key.removeprefix("state."): value for key, value in tensors.items() if key.startswith("state.")}


def hf_folder(golden: Path, folder: Path, name: str = "hf_videomae_tiny", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((golden / f"{name}.json").read_text())["config"] | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder
