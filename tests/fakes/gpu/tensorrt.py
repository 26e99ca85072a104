"""TensorRT and TensorRT-RTX without a GPU, with their rules; an engine computes with ONNX Runtime.

Every name is checked against `tensorrt_api.json`, which was read from NVIDIA's own Python bindings of each version: what
a version lacks, its fake lacks.
"""

from __future__ import annotations

import enum
import importlib.machinery
import json
import types
from pathlib import Path
from typing import Any

from tests.fakes.gpu.cuda import Machine
from tests.fakes.gpu.fresh_module import load_afresh

API: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())
"""Names by version (`tensorrt 10.3.0`), and class or enumeration."""

VERSIONS = tuple(API)

STRONGLY_TYPED = "STRONGLY_TYPED"

ENUMERATIONS = (
    "NetworkDefinitionCreationFlag",
    "BuilderFlag",
    "ProfilingVerbosity",
    "MemoryPoolType",
    "ComputeCapability",
    "CudaGraphStrategy",
    "DynamicShapesKernelSpecializationStrategy",
    "LayerInformationFormat",
    "DataType",
)


class LoggedSeverity(enum.IntEnum):
    """As `ILogger.Severity`."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    """Told everything; an application's own inherits from it."""

    Severity = LoggedSeverity

    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class HostMemory(bytes):
    """As IHostMemory, which gives its bytes."""

    nbytes = property(len)


def say(logger: Any, message: str, severity: LoggedSeverity = LoggedSeverity.ERROR) -> None:
    """Log as TensorRT does."""
    assert logger._ready, "ILogger.__init__ was not called"
    logger.log(severity, message)


def make_module(version: str, machine: Machine) -> types.ModuleType:
    """Return a fake of `tensorrt` or `tensorrt_rtx`.

    Args:
        version: one of `VERSIONS`.
        machine: the computer it runs on.
    """
    name, number = version.split()
    api = API[version]
    trt = types.ModuleType(name)
    trt.__spec__ = importlib.machinery.ModuleSpec(name, None)
    for enumeration in ENUMERATIONS:
        if enumeration in api:
            setattr(trt, enumeration, enum.IntEnum(enumeration, {m: i for i, m in enumerate(api[enumeration])}))
    rtx = name == "tensorrt_rtx"
    values = {"__version__": number, "uint8": trt.DataType.UINT8, "float32": trt.DataType.FLOAT, "ILogger": ILogger}
    for part in ("tests.fakes.gpu.tensorrt_builder", "tests.fakes.gpu.tensorrt_runtime"):
        classes = vars(load_afresh(part, name=name, trt=trt, machine=machine, version=version, rtx=rtx))
        values |= {known: _strict(classes[known], version) for known in api if known in classes}
    vars(trt).update(values)
    return trt


def _strict(cls: type, version: str) -> type:
    """Return a class that has the names of this version, and no others."""
    known = set(API[version][cls.__name__])

    def check(attribute: str) -> None:
        if not attribute.startswith("_") and attribute not in known:
            raise AttributeError(f"{version}: {cls.__name__} has no {attribute}")

    def read(self: Any, attribute: str) -> Any:
        check(attribute)
        return object.__getattribute__(self, attribute)

    def write(self: Any, attribute: str, value: Any) -> None:
        check(attribute)
        object.__setattr__(self, attribute, value)

    return type(cls.__name__, (cls,), {"__getattribute__": read, "__setattr__": write})
