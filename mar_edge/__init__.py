"""mar-edge recognises actions in live video on edge devices while looking at only half of the pixels.

Everything here is loaded when it is first used, so that importing the package is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mar_edge.errors import (
        BundleError,
        CheckpointError,
        DataError,
        EngineError,
        ExportError,
        FrameError,
        GeometryError,
        MarEdgeError,
        MissingExtraError,
        OptionError,
        OutputError,
        RecipeError,
        SourceError,
        TrainingError,
    )
    from mar_edge.runtime.model import Model, load
    from mar_edge.runtime.streams.results import ClipResult, Event, Prediction
    from mar_edge.runtime.streams.session import Session

__version__ = "0.1.0"

_HOMES = {
    "load": "mar_edge.runtime.model",
    "Model": "mar_edge.runtime.model",
    "Session": "mar_edge.runtime.streams.session",
    "Prediction": "mar_edge.runtime.streams.results",
    "Event": "mar_edge.runtime.streams.results",
    "ClipResult": "mar_edge.runtime.streams.results",
}

__all__ = [
    "BundleError",
    "CheckpointError",
    "ClipResult",
    "DataError",
    "EngineError",
    "Event",
    "ExportError",
    "FrameError",
    "GeometryError",
    "MarEdgeError",
    "MissingExtraError",
    "Model",
    "OptionError",
    "OutputError",
    "Prediction",
    "RecipeError",
    "Session",
    "SourceError",
    "TrainingError",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mar_edge' has no attribute '{name}'")
    return getattr(import_module(_HOMES.get(name, "mar_edge.errors")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
