"""Telemetry of other people's libraries, switched off before they load. mar-edge itself has none.

ONNX Runtime 1.31 for Linux starts an uploader when it is imported: a device id and a database under `~/.cache/Microsoft`,
connections to mobile.events.data.microsoft.com. Only the environment variable stops it; its
`disable_telemetry_events()` leaves id, database and connections. OpenVINO counts every import at Google Analytics with a
client id under `~/intel`, through a package of its own, and does without where that package is missing.

`import mar_edge` runs `switch_off`, so whoever imports ONNX Runtime after it, and every child process, is silent.
"""

from __future__ import annotations

import os
import sys
from typing import Any

VARIABLE = "ORT_DISABLE_TELEMETRY"
_ASKED_FOR = ("0", "false", "no", "off")


def switch_off() -> None:
    """Switch off ONNX Runtime's telemetry for this process and its children, if it is not loaded yet.

    Whoever wants it sets `ORT_DISABLE_TELEMETRY=0`.
    """
    if os.environ.get(VARIABLE, "").strip().lower() not in _ASKED_FOR:
        os.environ[VARIABLE] = "1"


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, silent."""
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
        sys.modules[name] = None  # type: ignore[assignment] # so its import fails, and OpenVINO takes its own stub
    try:
        import openvino
    finally:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
    return openvino
