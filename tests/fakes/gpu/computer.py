"""A computer with a GPU and a version of TensorRT, put where mar-edge looks for them."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mar_edge.runtime.engines.tensorrt import cuda as tensorrt_cuda
from mar_edge.runtime.engines.tensorrt import cuda_graph as tensorrt_cuda_graph
from tests.fakes.gpu.cuda import DriverLibrary, Machine, make_driver
from tests.fakes.gpu.tensorrt import make_module

MEMORY = 1 << 22
ORIN = ("Orin", (8, 7), MEMORY)
T4 = ("Tesla T4", (7, 5), MEMORY)

TENSORRT, JETSON, RTX = "tensorrt 11.4.0.106", "tensorrt 10.3.0", "tensorrt_rtx 1.7.1.116"


def installing(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Callable[..., Machine]]:
    """Yield what puts a version on a computer with given GPUs; what is broken there fails the test at its end."""
    monkeypatch.setenv("MAR_EDGE_CACHE", str(cache))
    monkeypatch.delenv("MAR_EDGE_CUDA_DEVICE", raising=False)
    machines: list[Machine] = []

    def make(version: str, *gpus: tuple[str, tuple[int, int], int], machine: Machine | None = None) -> Machine:
        machine = machine or Machine(*(gpus or (ORIN,)))
        driver, package = make_driver(machine), types.ModuleType("pycuda")
        package.__spec__, package.driver = driver.__spec__, driver  # type: ignore[attr-defined]
        module = make_module(version, machine)
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(tensorrt_cuda_graph, "open_driver", lambda: DriverLibrary(machine))
        monkeypatch.setattr(tensorrt_cuda, "_primaries", {})
        machines.append(machine)
        return machine

    yield make
    gc.collect()
    for machine in machines:
        assert not machine.broken
