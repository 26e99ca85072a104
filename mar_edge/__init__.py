"""mar-edge recognises actions in live video on edge devices while looking at only half of the pixels.

This module is the public API; all other modules are private, and may change in any version. Everything is
loaded on first use, so that importing the package is fast and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mar_edge.telemetry import switch_off
from mar_edge.version import __version__ as __version__

if TYPE_CHECKING:
    from mar_edge.bundle import Bundle, open_bundle
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
        SourceTimeoutError,
        TrainingError,
    )
    from mar_edge.evaluation.evaluation import Evaluation, evaluate, open_model, read_videos
    from mar_edge.export.triton import Serving, write_triton
    from mar_edge.geometry import Geometry
    from mar_edge.model.config import ModelConfig, preset
    from mar_edge.model_spec import GraphSpec, ModelSpec
    from mar_edge.reporting import Warnings
    from mar_edge.runtime.clips.clip_result import ClipResult
    from mar_edge.runtime.engines.engine import Engine
    from mar_edge.runtime.frame import Frame
    from mar_edge.runtime.model import Model, load
    from mar_edge.runtime.results import (
        Event,
        EventEnded,
        EventStarted,
        Notice,
        Prediction,
        Record,
        ShownFrame,
        StreamStatus,
    )
    from mar_edge.runtime.sinks.open import (
        EventClips,
        JsonLinesSink,
        Recording,
        open_metrics,
        open_mqtt,
        open_webhook,
    )
    from mar_edge.runtime.sinks.sink import Sink
    from mar_edge.runtime.sources.camera import CameraSource
    from mar_edge.runtime.sources.demo.demo import DemoSource
    from mar_edge.runtime.sources.network.source import NetworkSource
    from mar_edge.runtime.sources.open import open_source
    from mar_edge.runtime.sources.source import Connection, Reading, Source
    from mar_edge.runtime.streams.event_rule import ClassRule, EventRule
    from mar_edge.runtime.streams.runner import Runner
    from mar_edge.runtime.streams.saving.dial import DialOptions
    from mar_edge.runtime.streams.session import Session
    from mar_edge.runtime.streams.session_state import SessionState
    from mar_edge.runtime.streams.stream import Stream

switch_off()  # telemetry of our dependencies; must run before any of them loads

_HOMES = {
    "Bundle": "bundle",
    "CameraSource": "runtime.sources.camera",
    "ClassRule": "runtime.streams.event_rule",
    "ClipResult": "runtime.clips.clip_result",
    "Connection": "runtime.sources.source",
    "DemoSource": "runtime.sources.demo.demo",
    "DialOptions": "runtime.streams.saving.dial",
    "Engine": "runtime.engines.engine",
    "Evaluation": "evaluation.evaluation",
    "Event": "runtime.results",
    "EventClips": "runtime.sinks.open",
    "EventEnded": "runtime.results",
    "EventRule": "runtime.streams.event_rule",
    "EventStarted": "runtime.results",
    "Frame": "runtime.frame",
    "Geometry": "geometry",
    "GraphSpec": "model_spec",
    "JsonLinesSink": "runtime.sinks.open",
    "Model": "runtime.model",
    "ModelConfig": "model.config",
    "ModelSpec": "model_spec",
    "NetworkSource": "runtime.sources.network.source",
    "Notice": "runtime.results",
    "Prediction": "runtime.results",
    "Reading": "runtime.sources.source",
    "Record": "runtime.results",
    "Recording": "runtime.sinks.open",
    "Runner": "runtime.streams.runner",
    "Serving": "export.triton",
    "Session": "runtime.streams.session",
    "SessionState": "runtime.streams.session_state",
    "ShownFrame": "runtime.results",
    "Sink": "runtime.sinks.sink",
    "Source": "runtime.sources.source",
    "Stream": "runtime.streams.stream",
    "StreamStatus": "runtime.results",
    "Warnings": "reporting",
    "evaluate": "evaluation.evaluation",
    "load": "runtime.model",
    "open_bundle": "bundle",
    "open_metrics": "runtime.sinks.open",
    "open_model": "evaluation.evaluation",
    "open_mqtt": "runtime.sinks.open",
    "open_source": "runtime.sources.open",
    "open_webhook": "runtime.sinks.open",
    "preset": "model.config",
    "read_videos": "evaluation.evaluation",
    "write_triton": "export.triton",
}

__all__ = [
    "Bundle",
    "BundleError",
    "CameraSource",
    "CheckpointError",
    "ClassRule",
    "ClipResult",
    "Connection",
    "DataError",
    "DemoSource",
    "DialOptions",
    "Engine",
    "EngineError",
    "Evaluation",
    "Event",
    "EventClips",
    "EventEnded",
    "EventRule",
    "EventStarted",
    "ExportError",
    "Frame",
    "FrameError",
    "Geometry",
    "GeometryError",
    "GraphSpec",
    "JsonLinesSink",
    "MarEdgeError",
    "MissingExtraError",
    "Model",
    "ModelConfig",
    "ModelSpec",
    "NetworkSource",
    "Notice",
    "OptionError",
    "OutputError",
    "Prediction",
    "Reading",
    "RecipeError",
    "Record",
    "Recording",
    "Runner",
    "Serving",
    "Session",
    "SessionState",
    "ShownFrame",
    "Sink",
    "Source",
    "SourceError",
    "SourceTimeoutError",
    "Stream",
    "StreamStatus",
    "TrainingError",
    "Warnings",
    "evaluate",
    "load",
    "open_bundle",
    "open_metrics",
    "open_model",
    "open_mqtt",
    "open_source",
    "open_webhook",
    "preset",
    "read_videos",
    "write_triton",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mar_edge' has no attribute '{name}'")
    return getattr(import_module(f"mar_edge.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
