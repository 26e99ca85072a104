"""The GPU and its CUDA context, so that an application's own context is left unchanged."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from mar_edge import extras
from mar_edge.errors import EngineError, OptionError
from mar_edge.runtime.engines.tensorrt.messages import explain

VARIABLE = "MAR_EDGE_CUDA_DEVICE"


class Gpu(NamedTuple):
    """What an engine is built for.

    Attributes:
        name: as the driver reports it, such as `Orin`.
        compute_capability: such as `8.7`.
    """

    name: str
    compute_capability: str


class CudaPlace:
    """A GPU and a context on it.

    The context is the primary one, which everything in the process shares that uses CUDA's runtime, PyTorch too; or the
    application's own, if it made one with PyCUDA and that is current on the same GPU.

    Args:
        device: number of the GPU in CUDA's order; by default `MAR_EDGE_CUDA_DEVICE`, or 0.
        extra: of mar-edge that installs PyCUDA with the engine, `tensorrt` or `tensorrt-rtx`.

    Attributes:
        cuda: the module `pycuda.driver`.
        gpu: what it is.

    Raises:
        MissingExtraError: if PyCUDA is not installed.
        OptionError: if the number is invalid.
        EngineError: if there is no such GPU, or it cannot be used.
    """

    def __init__(self, device: int | None = None, *, extra: str = "tensorrt") -> None:
        self.cuda = _load_driver(extra)
        self.number = _choose(device)
        try:
            count = self.cuda.Device.count()
            if self.number >= count:
                raise EngineError(
                    f"there is no GPU {self.number}; CUDA reports {count}, counted from 0. Choose another with {VARIABLE}"
                )
            gpu = self.cuda.Device(self.number)
            major, minor = gpu.compute_capability()
            self.gpu = Gpu(gpu.name(), f"{major}.{minor}")
            self._context = _application_context(self.cuda, gpu) or _primary_context(self.cuda, self.number)
        except self.cuda.Error as error:
            raise EngineError(f"GPU {self.number} cannot be used: {explain([str(error)])}") from error

    def shares(self, other: CudaPlace) -> bool:
        """Return whether memory of another place can be used here: it is of the same context."""
        return self._context is other._context

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in this thread, and afterwards what was current before.

        Raises:
            EngineError: if CUDA fails, inside the block too.
        """
        try:
            self._context.push()
        except self.cuda.Error as error:
            raise EngineError(f"GPU {self.number} can no longer be used: {explain([str(error)])}") from error
        try:
            yield
        except self.cuda.Error as error:
            raise EngineError(f"GPU {self.number} ({self.gpu.name}) failed: {explain([str(error)])}") from error
        finally:
            self.cuda.Context.pop()


def _load_driver(extra: str) -> Any:
    extras.require("pycuda", extra)
    try:
        import pycuda.driver as cuda
    except (ImportError, OSError) as error:
        raise EngineError(
            f"pycuda is installed but cannot be loaded: {error}. It must be built on this device, "
            "for the CUDA version of its driver"
        ) from error
    try:
        cuda.init()
    except cuda.Error as error:
        raise EngineError(f"CUDA cannot be started: {explain([str(error)])}. Check nvidia-smi") from error
    return cuda


def _choose(device: int | None) -> int:
    if device is None:
        text = os.environ.get(VARIABLE, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 9):
            raise OptionError(f"{VARIABLE} is {ascii(text)[:60]}, not the number of a GPU; CUDA counts them from 0")
        return int(text)
    if device < 0:
        raise OptionError(f"GPU {device} is not the number of a GPU; CUDA counts them from 0")
    return device


def _application_context(cuda: Any, gpu: Any) -> Any:
    """Return the context that the application made current with PyCUDA, if it is on this GPU."""
    context = cuda.Context.get_current()
    return context if context is not None and cuda.Context.get_device() == gpu else None


class _Primary:
    """A primary context, kept until the process ends.

    Others in the process use it as well, above all TensorRT, and keep it themselves. PyCUDA releases one properly
    only in the thread that retained it, and then leaves it current there; so it is not released with every engine.
    """

    def __init__(self, cuda: Any, number: int) -> None:
        self.context = cuda.Device(number).retain_primary_context()
        # finalizers run at exit in reverse order of creation: after those of the engines that use the context
        weakref.finalize(self, self.context.detach)


_primaries: dict[int, _Primary] = {}
_taking = threading.Lock()


def _primary_context(cuda: Any, number: int) -> Any:
    with _taking:
        if number not in _primaries:
            _primaries[number] = _Primary(cuda, number)
        return _primaries[number].context
