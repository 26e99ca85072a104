"""CUDA graphs: work of a stream, captured once and launched again in one call. PyCUDA lacks them; we call the driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from mar_edge.errors import EngineError

_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may continue to use CUDA while we capture."""


def open_driver() -> Any:
    """Return NVIDIA's driver library."""
    return ctypes.CDLL("libcuda.so.1")


class CudaGraph:
    """The work that a stream gets while `enqueue` runs; the context must be current in all calls.

    Args:
        stream: handle of the stream.
        enqueue: gives the stream work, and does not wait for it.

    Raises:
        EngineError: if it cannot be captured; the stream remains usable.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        try:
            self._driver = open_driver()
        except OSError as error:
            raise EngineError(f"NVIDIA's driver library cannot be loaded: {error}") from error
        self._stream = ctypes.c_void_p(stream)
        self._run = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        try:
            try:
                enqueue()
            finally:  # a stream that is left capturing could never run anything again
                ended = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
            _check(ended, "cuStreamEndCapture")
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._run), graph, ctypes.c_ulonglong(0))
        finally:
            if graph.value:
                self._driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Launch the work on the stream again.

        Raises:
            EngineError: if the driver reports an error.
        """
        self._call("cuGraphLaunch", self._run, self._stream)

    def close(self) -> None:
        """Free the graph. May be called again."""
        run, self._run = self._run, ctypes.c_void_p()
        if run.value:
            self._driver.cuGraphExecDestroy(run)

    def _call(self, name: str, *arguments: Any) -> None:
        _check(getattr(self._driver, name)(*arguments), name)


def _check(result: int, name: str) -> None:
    if result:
        raise EngineError(f"{name} failed with CUDA error {result}")
