"""What this machine has: an environment without torch, instructions of the CPU."""

from __future__ import annotations

import os
from pathlib import Path

from mar_edge.runtime.engines.openvino_core import openvino_core
from tests.conftest import ROOT

BARE = Path(os.environ.get("MAR_EDGE_BARE_PYTHON", ROOT / ".venv-demo" / "bin" / "python"))


def has_bf16() -> bool:
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
