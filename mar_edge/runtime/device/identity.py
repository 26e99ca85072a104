"""Identifies this device: a speed measured on one device is not valid for another."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from mar_edge.counting import counted

_CPU_KEYS = ("model name", "vendor_id", "cpu family", "model", "CPU implementer", "CPU part", "CPU variant")
"""What Linux reports about a core, on x86 and on ARM."""


def device_key() -> str:
    """Return a text that differs between devices of different speed: board, CPU, number of cores and GPUs."""
    return "; ".join([_board(), platform.machine(), *_cpu().values(), counted(_cores(), "core"), *_gpus()])


def device_name() -> str:
    """Return a readable name of the device, such as `AMD EPYC, 2 cores`."""
    name = _board() or _cpu().get("model name") or platform.processor() or platform.machine()
    return ", ".join([name, f"{_cores()} core{'s' if _cores() > 1 else ''}", *_gpus()])


def _cpu() -> dict[str, str]:
    """Return what is known about the first core."""
    first = _read("/proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    found = {key.strip(): value.strip() for key, _, value in pairs}
    return {key: found[key] for key in _CPU_KEYS if key in found}


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _board() -> str:
    """Return the name of a board such as a Jetson or a Raspberry Pi; empty on a PC."""
    return _read("/proc/device-tree/model").strip("\0\n ")


def _gpus() -> list[str]:
    """Return the names that NVIDIA's driver gives its GPUs; a Jetson is identified by its board."""
    lines = [
        line
        for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in _read(str(file)).splitlines()
    ]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
