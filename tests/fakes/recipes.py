"""Recipes of models that train in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def films(**changes: Any) -> dict[str, Any]:
    """A recipe for camera moves."""
    values: dict[str, Any] = {
        "name": "tiny",
        "description": "a test",
        "licence": "Apache-2.0",
        "idle_label": "still",
        "model": {
            "frames": 4, "size_px": 32, "patch_px": 16, "width": 24, "depth": 1, "heads": 2,
            "bridge_width": 24, "bridge_depth": 1, "bridge_heads": 2,
            "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
        },
        "data": {"kind": "camera_moves", "clips": 40, "chunk": 20, "drawn_per_chunk": 3},
        "optimiser": {"kind": "muon", "warmup_steps": 2},
        "trainer": {"steps": 6, "batch": 8, "out": "run"},
    }  # fmt: skip
    return values | changes


def write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def tiny(folder: Path, videos: Path, cache: Path | None = None) -> dict[str, Any]:
    """A recipe for a very small model of the films' directions; tests may share a cache, which takes seconds to fill."""
    return {
        "name": "direction",
        "description": "a test",
        "licence": "Apache-2.0",
        "model": {
            "frames": 8, "size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2,
            "bridge_width": 32, "bridge_depth": 1, "bridge_heads": 2,
            "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
            "input_norm": "clip", "positions": "grid", "drop_path": 0.1,
        },
        "data": {"kind": "videos", "train": str(videos), "rate_fps": 10, "resize": "stretch", "cache": str(cache or folder / "cache")},
        "optimiser": {"lr": 2e-3, "warmup_steps": 4, "ema": 0.9},
        "trainer": {"steps": 8, "batch": 4, "checkpoint_steps": 2, "workers": 0, "threads": 1, "out": str(folder / "run")},
    }  # fmt: skip
