"""The state of a stream in the GPU's memory, where steps read and write it."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple, NoReturn, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError
from mar_edge.runtime.engines.stream_state import KINDS, StateLayout, StreamState
from mar_edge.runtime.engines.tensorrt.cuda import CudaPlace

ALIGNED_BYTES = 256
"""TensorRT reads and writes tensors at multiples of this."""


class Group(NamedTuple):
    """Keys and values of consecutive attentions of one size, which lie in one block and are copied at once.

    Attributes:
        names: of keys and values, see `StateLayout.names`.
        heads: of every attention.
        row_bytes: of one head in one time step.
    """

    names: tuple[str, ...]
    heads: int
    row_bytes: int


def groups(layout: StateLayout) -> list[Group]:
    """Return the groups of a layout, in order: of a MAR one of the encoder and one of the bridging classifier."""
    names = iter(layout.names)
    found = []
    for (heads, width), attentions in groupby(layout.attentions):
        count = 2 * len(list(attentions))
        row_bytes = layout.tokens * width * np.dtype(KINDS[layout.kind]).itemsize
        found.append(Group(tuple(next(names) for _ in range(count)), heads, row_bytes))
    return found


class Block:
    """Memory of the GPU for the tensors of a group, one after the other; each begins at a multiple of `ALIGNED_BYTES`.

    The GPU's context must be current, also for `free`.

    Args:
        cuda: the module `pycuda.driver`.
        group: of these tensors.
        steps: time steps in a row.
        batch: streams in a tensor.
    """

    def __init__(self, cuda: Any, group: Group, *, steps: int, batch: int = 1) -> None:
        self._cuda, self.group = cuda, group
        self.pitch = steps * group.row_bytes
        whole = ALIGNED_BYTES // math.gcd(self.pitch, ALIGNED_BYTES)
        self.rows = -(-batch * group.heads // whole) * whole  # from one tensor to the next
        self.bytes = len(group.names) * self.rows * self.pitch
        self._memory = cuda.mem_alloc(self.bytes)
        self.address = int(self._memory)
        try:
            # not attended, but what is not a number there would be none in the sums either
            cuda.memset_d8(self.address, 0, self.bytes)
        except cuda.Error:
            self.free()
            raise

    def tensor(self, index: int) -> int:
        """Return the address of a tensor."""
        return self.address + index * self.rows * self.pitch

    def copy_to(self, target: Block, stream: Any, *, row: int = 0, target_row: int = 0, target_step: int = 0) -> None:
        """Enqueue a copy of one stream's part of every tensor into another block of the group.

        Args:
            target: whose rows have as many time steps, or more.
            stream: of CUDA.
            row: of this block at which the part begins.
            target_row: of the target at which it begins.
            target_step: time step in the target's rows at which it begins.
        """
        copy = self._cuda.Memcpy3D()
        copy.set_src_device(self.address)
        copy.src_pitch, copy.src_height, copy.src_y = self.pitch, self.rows, row
        copy.set_dst_device(target.address)
        copy.dst_pitch, copy.dst_height, copy.dst_y = target.pitch, target.rows, target_row
        copy.dst_x_in_bytes = target_step * self.group.row_bytes
        copy.width_in_bytes, copy.height, copy.depth = self.pitch, self.group.heads, len(self.group.names)
        copy(stream)

    def read(self) -> NDArray[np.uint8]:
        """Return a copy in the host's memory, uint8 (tensors, rows, bytes of a row)."""
        host = np.empty((len(self.group.names), self.rows, self.pitch), np.uint8)
        self._cuda.memcpy_dtoh(host, self.address)
        return host

    def write(self, host: NDArray[np.uint8]) -> None:
        """Copy an array like that of `read` to the GPU."""
        self._cuda.memcpy_htod(self.address, np.ascontiguousarray(host))

    def free(self) -> None:
        """Free the memory."""
        self._memory.free()


class GpuState(StreamState):
    """The state of one stream, whose keys and values stay on the GPU. It has not run on one yet, only against a fake.

    Its memory is freed with the object, whether its engine is closed before or after. `fetch` and `store` copy all of it
    between GPU and host, as do saving and a change of the mask.

    Args:
        layout: what is kept.
        place: GPU and context.

    Attributes:
        place: as given.
        blocks: its memory, one block of each group.
        undo: what is done before the memory is freed, with the context current.

    Raises:
        EngineError: if the GPU's memory does not suffice.
    """

    def __init__(self, layout: StateLayout, place: CudaPlace) -> None:
        super().__init__(layout)
        self.place = place
        self.blocks: list[Block] = []
        self.undo = contextlib.ExitStack()
        weakref.finalize(self, _free, place, self.undo)
        with place.current():
            for group in groups(layout):
                block = Block(place.cuda, group, steps=layout.slots)
                self.undo.callback(block.free)
                self.blocks.append(block)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be pickled: memory of the GPU cannot leave its process."""
        raise EngineError("this state is on the GPU and cannot be pickled. Send what its to_arrays returns")

    def _allocate(self) -> list[NDArray[Any]]:
        return []

    def fetch(self) -> list[NDArray[Any]]:
        """Return copies of keys and values in the host's memory, in the order of `StateLayout.names`."""
        kind = KINDS[self.layout.kind]
        with self.place.current():
            hosts = [block.read() for block in self.blocks]
        tensors = [
            host[index, : block.group.heads]
            for block, host in zip(self.blocks, hosts, strict=True)
            for index in range(len(host))
        ]
        shapes = self.layout.shapes(self.layout.slots)
        return [tensor.view(kind).reshape(shape) for tensor, shape in zip(tensors, shapes, strict=True)]

    def store(self, kept: Sequence[NDArray[Any]]) -> None:
        """Replace all keys and values by those in the host's memory."""
        given = iter(kept)
        with self.place.current():
            for block in self.blocks:
                host = np.zeros((len(block.group.names), block.rows, block.pitch), np.uint8)
                for tensor in host:
                    rows = np.ascontiguousarray(next(given)).reshape(block.group.heads, -1)
                    tensor[: block.group.heads] = rows.view(np.uint8)
                block.write(host)


def _free(place: CudaPlace, undo: contextlib.ExitStack) -> None:
    # an application that destroyed its context freed its memory as well
    with contextlib.suppress(EngineError), place.current(), undo:
        pass
