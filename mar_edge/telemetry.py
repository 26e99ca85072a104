"""Disables the telemetry of dependencies before they load. mar-edge itself has none.

ONNX Runtime 1.31 for Linux starts an uploader when it is imported: a device id and a database under `~/.cache/Microsoft`,
connections to mobile.events.data.microsoft.com. Only the environment variable stops it; its
`disable_telemetry_events()` leaves id, database and connections. OpenVINO reports every import to Google Analytics with a
client id under `~/intel`, through a separate package, and works without that package.

`import mar_edge` runs `switch_off`, so later imports of ONNX Runtime, and every child process, have no telemetry.
"""

from __future__ import annotations

import os
import sys
from typing import Any

VARIABLE = "ORT_DISABLE_TELEMETRY"
_ASKED_FOR = ("0", "false", "no", "off")


def switch_off() -> None:
    """Disable ONNX Runtime's telemetry for this process and its children, if it is not loaded yet.

    To keep it enabled, set `ORT_DISABLE_TELEMETRY=0`.
    """
    if os.environ.get(VARIABLE, "").strip().lower() not in _ASKED_FOR:
        os.environ[VARIABLE] = "1"


def import_onnxruntime() -> Any:
    """Import ONNX Runtime without telemetry."""
    switch_off()
    import onnxruntime

    return onnxruntime


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    Raises:
        ImportError: if it is not installed.
        OSError: if a library that it needs is missing.
    """
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    if "openvino" not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment] # so its import fails, and OpenVINO uses its own stub
    try:
        import openvino
    finally:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
    return openvino
