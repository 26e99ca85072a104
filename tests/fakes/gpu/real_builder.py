"""Building with TensorRT-RTX itself, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

from mar_edge.export.tensorrt_check import check
from mar_edge.runtime.engines.tensorrt import build as tensorrt_build
from mar_edge.runtime.engines.tensorrt.build import BuiltEngine

RTX = "tensorrt-rtx"


def build_engine(path: Path, precision: str = "fp32", kept: tuple[str, ...] = ()) -> BuiltEngine:
    """Check, parse and build a graph as export does; the engine must be of the precision, and say so."""
    check(path)
    said: list[str] = []
    built = tensorrt_build.build(
        path, module=RTX, batch=(1, 1, 2), workspace_mib=1024, precision=precision, kept=kept, say=said.append
    )
    assert not said
    assert built.layers is not None
    return built
