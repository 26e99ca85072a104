"""Small stand-ins: a bundle without a real graph, and an engine that computes by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle, write_manifest
from mar_edge.runtime.engines.engine import Engine

LABELS = ["dark", "light", "bright"]


def manifest(**changes: Any) -> dict[str, Any]:
    """Return a manifest for clips of 4 frames of 32 px at 10 frames/s."""
    graph = b"not a graph"
    values: dict[str, Any] = {
        "format": 1,
        "name": "fake",
        "description": "tells bright from dark",
        "licence": "Apache-2.0",
        "labels": LABELS,
        "geometry": {"frames": 4, "height_px": 32, "width_px": 32, "tubelet_frames": 2, "patch_px": 8},
        "rate_fps": 10.0,
        "resize": "stretch",
        "idle_label": "dark",
        "architecture": {"width": 8},
        "trained_mask": 50,
        "variants": [
            {
                "file": "mask50-fp32.onnx",
                "mask": 50,
                "precision": "fp32",
                "sha256": hashlib.sha256(graph).hexdigest(),
                "size_bytes": len(graph),
                "gmacs": 0.1,
                "parity": {"max_abs_error": 0.0, "bound": 1e-4, "clips": 1, "source": "none"},
            }
        ],
        "provenance": {},
    }
    return values | changes


def write_bundle(folder: Path, **changes: Any) -> Path:
    """Write a bundle that is valid but for its graph's content."""
    folder.mkdir(parents=True, exist_ok=True)
    values = manifest(**changes)
    version = values.pop("format")
    write_manifest(folder, values)
    if version != 1:
        (folder / "manifest.json").write_text(json.dumps({"format": version, **values}))
    (folder / "mask50-fp32.onnx").write_bytes(b"not a graph")
    return folder


class BrightnessEngine(Engine):
    """Scores a clip by its mean brightness; keeps what it saw."""

    name = "fake"

    def __init__(self, folder: Path, **changes: Any) -> None:
        bundle = Bundle(write_bundle(folder, **changes))
        (variant,) = bundle.manifest.variants
        super().__init__(bundle.manifest, variant, bundle.graph_path(variant))
        self.seen: list[NDArray[np.uint8]] = []
        self.keep = True

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.keep:
            self.seen.append(frames.copy())
        brightness = frames.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([8 * (1 - brightness), 0 * brightness, 8 * brightness], axis=-1).astype(np.float32)
