"""TensorRT's messages, and what they mean."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Any

KEPT = 20
"""Errors remembered; TensorRT repeats itself."""

LAYERS = "Layers:\n"
"""Beginning of the message that lists the layers of a built engine."""

CURES: tuple[tuple[str, str], ...] = (
    (
        r"out ?of ?memory|MEM_?ALLOC|cudaErrorMemoryAllocation|insufficient memory|allocation (error|fail)",
        "the GPU's memory is full. Close what else uses it, build for a smaller batch, or lower the workspace limit",
    ),
    (
        r"could not find any implementation for node",
        "this is often a lack of memory: raise the workspace limit, build for a smaller batch, or close what else uses the GPU",
    ),
    (
        r"CUDA initialization failure|cudaError(: | )?(35|100|803|804)\b|driver version is insufficient|"
        r"no CUDA-capable device",
        "there is no NVIDIA GPU with a driver for this CUDA version. Check nvidia-smi; in a container, run it with "
        "--gpus all (on Jetson --runtime nvidia)",
    ),
    (r"FP32 GEMM is not supported", "TensorRT-RTX does not support FP32 products on Turing. Choose the fp16 graph"),
    (
        r"SM ?\d+ is not supported|unsupported SM|compute capability|no kernel image",
        "this version does not support this GPU, or the engine was built for another one",
    ),
    (
        r"version tag does not match|magic ?tag|version mismatch|incompatible (with|version)|Serialization assertion|"
        r"serialized (engine|version)",
        "the engine was built by another version",
    ),
    (
        r"illegal memory access|unspecified launch failure|misaligned address",
        "the GPU failed, and this process can no longer use it. Restart the process; if it happens again, check the driver",
    ),
)
"""Patterns and what to do, in the order in which they are tried: TensorRT also reports full memory as a missing implementation."""


def make_logger(trt: Any) -> Any:
    """Return a logger for a TensorRT module that remembers errors and the list of layers.

    It has `errors`, a deque of sentences, and `layers`, text; it must live as long as the object that uses it.
    """

    class Messages(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=KEPT)
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message)
            elif message.startswith(LAYERS):
                self.layers = message

    return Messages()


def explain(errors: Sequence[str]) -> str:
    """Return the cause and the next step, in one or two sentences.

    Args:
        errors: what was logged, oldest first.
    """
    if not errors:
        return "it reports no reason"
    for pattern, cure in CURES:
        for message in errors:
            if re.search(pattern, message, re.IGNORECASE):
                return f"{_plain(message)}; {cure}"
    return _plain(errors[0])


def _plain(message: str) -> str:
    """Return a message in one line without the places in TensorRT's source."""
    text = " ".join(message.split())
    text = re.sub(r"\bIn \w+ at /?[\w/.]+:\d+ ?", "", text)
    text = re.sub(r"^(\[\S+\] |\S+: )(?=Error Code \d+:)", "", text)
    return text if len(text) <= 400 else text[:400] + "..."
