"""A GPU that is none: PyCUDA's driver module and NVIDIA's library, with their rules.

What PyCUDA does was read in its source (2024.1 and 2026.1): contexts are a stack in every thread, of which it knows only
those that it pushed itself; memory belongs to the context that was current when it was made, and is freed only where that
one is current, or in the thread that made the context; copies to a stream happen later.
"""

from __future__ import annotations

import ctypes
import threading
import types
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.fakes.gpu.fresh_module import load_afresh

INVALID_CONTEXT, INVALID_VALUE, STREAM_CAPTURE_INVALIDATED = 201, 1, 901


class Machine:
    """A computer with GPUs.

    Attributes:
        gpus: (name, compute capability, bytes of memory) of each.
        calls: what was called, in order.
        live: how many of each kind of thing are there.
        broken: rules that were broken where nobody could be told, as in a destructor.
        fail: name of a call, and at which of its uses it is to fail.
    """

    def __init__(self, *gpus: tuple[str, tuple[int, int], int]) -> None:
        self.gpus = gpus
        self.calls: list[str] = []
        self.live: Counter[str] = Counter()
        self.broken: list[str] = []
        self.fail: tuple[str, int] | None = None
        self.memory: dict[int, bytearray] = {}
        self.streams: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self._local = threading.local()
        self._handles = iter(range(0x1000, 1 << 40, 0x1000))
        self._next_address = 1 << 40

    def handle(self) -> int:
        """Return a number that nothing else has."""
        return next(self._handles)

    def allocate(self, size: int) -> int:
        """Return the address of new memory, which holds rubbish, as memory does."""
        address = self._next_address
        self._next_address += -(-size // 512) * 512 + 512
        self.memory[address] = bytearray(b"\xff" * size)
        return address

    def at(self, address: int, size: int = 1) -> memoryview | None:
        """Return bytes of the GPU's memory, which can be written; None if they are not all of one allocation."""
        for base, memory in self.memory.items():
            if base <= address and address + size <= base + len(memory):
                return memoryview(memory)[address - base : address - base + size]
        return None

    def call(self, name: str) -> bool:
        """Note a call, and tell whether it is to fail."""
        self.calls.append(name)
        return self.fail is not None and self.fail == (name, self.calls.count(name))

    @property
    def stack(self) -> list[Any]:
        """The driver's stack of contexts of this thread, PyCUDA's and others'."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Any] = self._local.stack
        return stack

    @property
    def current(self) -> Any:
        """The current context; None if there is none."""
        return self.stack[-1] if self.stack else None

    def needs_context(self, what: str) -> None:
        """Note as broken what is done without a current context."""
        if self.current is None:
            self.broken.append(f"{what} without a context")

    def left(self) -> dict[str, int]:
        """Return what is still there, but for contexts that are kept on purpose."""
        return {kind: count for kind, count in self.live.items() if count}


class ForeignContext:
    """A context that another library made, which PyCUDA does not know."""

    number = 0


def make_driver(machine: Machine) -> types.ModuleType:
    """Return a fake of `pycuda.driver`."""
    return load_afresh("tests.fakes.gpu.cuda_driver", name="pycuda.driver", machine=machine)


class DriverLibrary:
    """The functions of libcuda that capture and replay a stream; they return CUDA's error numbers."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: int) -> int:
        if self.machine.call("cuStreamBeginCapture_v2") or mode != 1:
            return INVALID_VALUE
        self.machine.streams[stream.value or 0].capture = []
        return 0

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:
        failed = self.machine.call("cuStreamEndCapture")
        owner = self.machine.streams[stream.value or 0]
        work, owner.capture = owner.capture, None
        if failed:
            return STREAM_CAPTURE_INVALIDATED
        graph._obj.value = self.machine.handle()
        self.machine.graphs[graph._obj.value] = work
        self.machine.live["captured graph"] += 1
        return 0

    def cuGraphInstantiateWithFlags(self, run: Any, graph: ctypes.c_void_p, flags: ctypes.c_ulonglong) -> int:
        if self.machine.call("cuGraphInstantiateWithFlags"):
            return INVALID_VALUE
        run._obj.value = self.machine.handle()
        self.machine.graphs[run._obj.value] = self.machine.graphs[graph.value or 0]
        self.machine.live["graph"] += 1
        return 0

    def cuGraphLaunch(self, run: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
        if self.machine.call("cuGraphLaunch"):
            return INVALID_VALUE
        if self.machine.current is None:
            return INVALID_CONTEXT
        for work in self.machine.graphs[run.value or 0]:
            self.machine.streams[stream.value or 0].add(work)
        return 0

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:
        del self.machine.graphs[graph.value or 0]
        self.machine.live["captured graph"] -= 1
        return 0

    def cuGraphExecDestroy(self, run: ctypes.c_void_p) -> int:
        self.machine.needs_context("graph destroyed")
        del self.machine.graphs[run.value or 0]
        self.machine.live["graph"] -= 1
        return 0
