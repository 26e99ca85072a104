"""The functions of `pycuda.driver` on a fake computer; `make_driver` loads this afresh for each computer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fakes.gpu.cuda import Machine

machine = Machine()
"""The computer it runs on; `make_driver` sets another one."""


class Error(Exception):
    """As PyCUDA's."""


class LogicError(Error):
    """As PyCUDA's."""


class MemoryError(Error):
    """As PyCUDA's; not Python's."""


def called(name: str, error: type[Exception] = LogicError, text: str = "an illegal memory access") -> None:
    if machine.call(name):
        raise error(f"{name} failed: {text} was encountered")


def owner() -> Context:
    context = Context.get_current()
    if context is None or machine.current is not context:
        raise LogicError("explicit_context_dependent failed: invalid device context - no currently active context?")
    return context


class Context:
    """A context that PyCUDA knows."""

    _mine = threading.local()

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind, self.valid, self.thread = number, kind, True, threading.get_ident()
        machine.live[kind] += 1

    @classmethod
    def _stack(cls) -> list[Context]:
        if not hasattr(cls._mine, "stack"):
            cls._mine.stack = []
        stack: list[Context] = cls._mine.stack
        return stack

    def push(self) -> None:
        called("push")
        if not self.valid:
            raise LogicError("cuCtxPushCurrent failed: context is destroyed")
        if self._stack():
            machine.stack.pop()
        machine.stack.append(self)
        self._stack().append(self)

    @staticmethod
    def pop() -> None:
        machine.call("pop")
        mine = Context._stack()
        if not mine:
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        machine.stack.pop()
        mine.pop()
        if mine:
            machine.stack.append(mine[-1])

    def detach(self) -> None:
        machine.call("detach")
        if not self.valid:
            raise LogicError("context::detach failed: invalid device context")
        self.valid = False
        if machine.current is self or self.thread == threading.get_ident():
            machine.live[self.kind] -= 1
        if machine.current is not self:
            machine.stack.append(self)  # PyCUDA pushes it, and does not pop a primary context

    @staticmethod
    def get_current() -> Context | None:
        mine = Context._stack()
        return mine[-1] if mine else None

    @staticmethod
    def get_device() -> Device:
        if machine.current is None:
            raise LogicError("cuCtxGetDevice failed: invalid device context")
        return Device(machine.current.number)


class Device:
    """A GPU."""

    def __init__(self, number: int) -> None:
        if number >= len(machine.gpus):
            raise LogicError("cuDeviceGet failed: invalid device ordinal")
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.number == self.number

    def __hash__(self) -> int:
        return self.number

    @staticmethod
    def count() -> int:
        return len(machine.gpus)

    def name(self) -> str:
        return machine.gpus[self.number][0]

    def compute_capability(self) -> tuple[int, int]:
        return machine.gpus[self.number][1]

    def retain_primary_context(self) -> Context:
        called("retain_primary_context", MemoryError, "out of memory")
        return Context(self.number, "primary context")

    def make_context(self, flags: int = 0) -> Context:
        context = Context(self.number, "context")
        if Context._stack():
            machine.stack.pop()
        machine.stack.append(context)
        Context._stack().append(context)
        return context


class Allocation:
    """Memory of the GPU."""

    def __init__(self, size: int) -> None:
        self.context, self.address, self.valid = owner(), machine.allocate(size), True
        machine.live["memory"] += 1

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        machine.call("free")
        if not self.valid:
            raise LogicError("device_allocation::free failed: invalid resource handle")
        if Context.get_current() is not self.context:
            machine.broken.append("memory freed while its context is not current")
        self.valid = False
        del machine.memory[self.address]
        machine.live["memory"] -= 1

    def __del__(self) -> None:
        if self.valid:
            machine.broken.append("memory was not freed")


class Pinned:
    """Memory of the host that does not move."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.context, self.valid = owner(), True
        self.data = np.full(shape, 171, np.uint8).astype(dtype)  # not zero, as memory is
        self.__array_interface__ = self.data.__array_interface__
        machine.live["pinned memory"] += 1

    def free(self) -> None:
        machine.call("free pinned")
        if not self.valid or Context.get_current() is not self.context:
            machine.broken.append("pinned memory freed twice, or while its context is not current")
        self.valid = False
        machine.live["pinned memory"] -= 1

    def __del__(self) -> None:
        if self.valid:
            machine.broken.append("pinned memory was not freed")


class Stream:
    """A queue of work, which is done when somebody waits for it."""

    def __init__(self, flags: int = 0) -> None:
        called("Stream")
        self.context, self.handle = owner(), machine.handle()
        self.work: list[Callable[[], None]] = []
        self.capture: list[Callable[[], None]] | None = None
        machine.streams[self.handle] = self
        machine.live["stream"] += 1
        self.counted = True

    def add(self, work: Callable[[], None]) -> None:
        (self.work if self.capture is None else self.capture).append(work)

    def synchronize(self) -> None:
        called("synchronize")
        if self.capture is not None:
            raise LogicError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        time.sleep(0.001)  # PyCUDA lets other threads run while it waits
        work, self.work = self.work, []
        for piece in work:
            piece()

    def __del__(self) -> None:
        if getattr(self, "counted", False):
            machine.live["stream"] -= 1
            if Context.get_current() is not self.context:
                machine.broken.append("stream destroyed while its context is not current")


def pinned_part(array: Any) -> None:
    base = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if not isinstance(base, Pinned) or not base.valid:
        machine.broken.append("asynchronous copy with memory that is not pinned")


def copy(name: str, array: Any, allocation: Allocation, stream: Stream, to_gpu: bool) -> None:
    called(name)
    if owner() is not stream.context:
        machine.broken.append(f"{name} to a stream of another context")
    pinned_part(array)
    memory = machine.memory[int(allocation)]
    if not array.flags.c_contiguous or array.nbytes > len(memory):
        raise LogicError(f"{name} failed: invalid argument")

    def work() -> None:
        if to_gpu:
            memory[: array.nbytes] = array.tobytes()
        else:
            array[...] = np.frombuffer(bytes(memory[: array.nbytes]), array.dtype).reshape(array.shape)

    stream.add(work)


def mem_alloc(size: int) -> Allocation:
    called("mem_alloc", MemoryError, "out of memory")
    number = owner().number
    if sum(map(len, machine.memory.values())) + size > machine.gpus[number][2]:
        raise MemoryError("cuMemAlloc failed: out of memory")
    return Allocation(size)


def pagelocked_empty(shape: tuple[int, ...], dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
    called("pagelocked_empty", MemoryError, "out of memory")
    return np.asarray(Pinned(shape, dtype))


def init(flags: int = 0) -> None:
    machine.call("init")
    if not machine.gpus:
        raise LogicError("cuInit failed: no CUDA-capable device is detected")


def memcpy_htod_async(dest: Allocation, src: Any, stream: Stream) -> None:
    copy("memcpy_htod_async", src, dest, stream, to_gpu=True)


def memcpy_dtoh_async(dest: Any, src: Allocation, stream: Stream) -> None:
    copy("memcpy_dtoh_async", dest, src, stream, to_gpu=False)


def memset_d8(dest: int, data: int, count: int) -> None:
    called("memset_d8")
    owner()
    part(dest, count, "memset_d8")[:] = bytes([data]) * count


def memcpy_htod(dest: int, src: Any) -> None:
    called("memcpy_htod")
    owner()
    part(dest, src.nbytes, "memcpy_htod")[:] = src.tobytes()


def memcpy_dtoh(dest: Any, src: int) -> None:
    called("memcpy_dtoh")
    owner()
    dest[...] = np.frombuffer(bytes(part(src, dest.nbytes, "memcpy_dtoh")), dest.dtype).reshape(dest.shape)


def part(address: int, size: int, name: str) -> memoryview:
    """Return memory of the GPU, when all work on it is done: these calls wait for it."""
    for stream in list(machine.streams.values()):
        if stream.work:
            stream.synchronize()
    found = machine.at(address, size)
    if found is None:
        raise LogicError(f"{name} failed: invalid argument")
    return found


class Memcpy3D:
    """A copy of rows in slices, within the GPU's memory, by the rules of `CUDA_MEMCPY3D`."""

    def __init__(self) -> None:
        for side in ("src", "dst"):
            for name in ("x_in_bytes", "y", "z", "pitch", "height"):
                setattr(self, f"{side}_{name}", 0)
        self.width_in_bytes = self.height = self.depth = 0

    def set_src_device(self, devptr: int) -> None:
        self.src = devptr

    def set_dst_device(self, devptr: int) -> None:
        self.dst = devptr

    def __call__(self, stream: Stream) -> None:
        called("Memcpy3D")
        if owner() is not stream.context:
            machine.broken.append("Memcpy3D on a stream of another context")
        source, target = self._rows("src"), self._rows("dst")

        def work() -> None:
            for here, there in zip(source, target, strict=True):
                taken, given = machine.at(here, self.width_in_bytes), machine.at(there, self.width_in_bytes)
                if taken is None or given is None:
                    machine.broken.append("a copy of memory that was freed")
                else:
                    given[:] = bytes(taken)

        stream.add(work)

    def _rows(self, side: str) -> list[int]:
        """Return the address of every row."""
        x, y, z, pitch, height = (
            getattr(self, f"{side}_{name}") for name in ("x_in_bytes", "y", "z", "pitch", "height")
        )
        base = getattr(self, side)
        rows = [
            base + ((z + plane) * height + y + row) * pitch + x
            for plane in range(self.depth)
            for row in range(self.height)
        ]
        fits = x + self.width_in_bytes <= pitch and (self.depth < 2 or y + self.height <= height) and rows
        if not fits or any(machine.at(row, self.width_in_bytes) is None for row in rows):
            raise LogicError("cuMemcpy3DAsync failed: invalid argument")
        return rows
