"""The GPU resources of a step graph's engine, whose streams keep their states on the GPU."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mar_edge.runtime.engines.tensorrt.cuda_graph import CudaGraph
from mar_edge.runtime.engines.tensorrt.gpu_state import Block, GpuState, groups
from mar_edge.runtime.engines.tensorrt.session import GpuSession

LASTING_BANDS = 4
"""After as many bands a stream gets a CUDA graph: before, the capture may cost more than it saves."""


class StepSession(GpuSession):
    """An engine of a step graph; see `GpuSession`. It has not run on a GPU yet, only against a fake.

    A step of one stream reads keys and values where its state keeps them. Those of several streams are gathered into one
    block, copied within the GPU. What a step computed is then copied into its slot, all attentions of one size in one
    call, on the same stream.

    A CUDA graph has fixed addresses. So, if the engine is built for one stream at a time, each lasting stream gets a graph of its
    own, of the copies of its inputs, the inference and the copy of its logits; the slot changes with every step, so the
    copies into it stay outside.
    """

    def _allocate(self) -> None:
        super()._allocate()
        assert self.layout is not None
        self._bound: weakref.ref[object] | None = None  # whose blocks the inference reads
        self._graphs: weakref.WeakKeyDictionary[GpuState, CudaGraph] = weakref.WeakKeyDictionary()
        self._undo.callback(self._close_graphs)
        self._fresh: list[Block] = []
        self._gathered: list[Block] = []
        for group in groups(self.layout):
            fresh = self._add_block(Block(self._place.cuda, group, steps=1, batch=self._largest))
            self._fresh.append(fresh)
            for index, name in enumerate(group.names):
                self._set_address(f"new_{name}", fresh.tensor(index))
            if self._largest > 1:
                block = Block(self._place.cuda, group, steps=self.layout.slots, batch=self._largest)
                self._gathered.append(self._add_block(block))

    def _add_block(self, block: Block) -> Block:
        self._undo.callback(block.free)
        return block

    def _close_graphs(self) -> None:
        for graph in list(self._graphs.values()):
            graph.close()

    def step(self, frames: NDArray[np.uint8], states: Sequence[GpuState]) -> NDArray[np.float32]:
        """Run a time step of each of several streams; more than the engine takes at once are run in turn.

        Args:
            frames: uint8 (B, tubelet frames, H, W, 3).
            states: of the streams, of this context.

        Returns:
            Logits (B, classes), not shared with a buffer.

        Raises:
            EngineError: if it is closed, or the GPU fails.
        """
        logits = []
        with self._running():
            for start in range(0, len(frames), self._largest):
                part = slice(start, start + self._largest)
                logits.append(self._run_steps(frames[part], states[part]))
        return np.concatenate(logits)

    def _run_steps(self, frames: NDArray[np.uint8], states: Sequence[GpuState]) -> NDArray[np.float32]:
        """Run as many steps as the engine takes at once."""
        count = len(states)
        self._host["frames"][:count] = frames
        for row, state in enumerate(states):
            self._host["step"][row] = state.clock
            self._host["bias"][row] = state.bias[0]
        self._set_batch(max(count, self._smallest))
        self._start(states)
        for row, state in enumerate(states):
            slot = state.take_slot()
            for fresh, kept in zip(self._fresh, state.blocks, strict=True):
                fresh.copy_to(kept, self._stream, row=row * fresh.group.heads, target_step=slot)
        self._stream.synchronize()
        self._inferences += 1
        logits: NDArray[np.float32] = self._host["logits"][:count].copy()
        return logits

    def _start(self, states: Sequence[GpuState]) -> None:
        """Enqueue the inference."""
        if self._largest == 1:
            graph = self._graph_of(states[0])
            if graph is not None:
                graph.launch()
                return
        if self._batch == 1:
            self._bind(states[0].blocks, states[0])
        else:
            for row, state in enumerate(states):
                for kept, gathered in zip(state.blocks, self._gathered, strict=True):
                    kept.copy_to(gathered, self._stream, target_row=row * kept.group.heads)
            self._bind(self._gathered, self)
        self._enqueue()

    def _bind(self, blocks: Sequence[Block], owner: object) -> None:
        """Let the inference read keys and values in the blocks of an owner, a state or this session."""
        if self._bound is not None and self._bound() is owner:
            return
        self._bound = None  # should one be rejected
        for block in blocks:
            for index, name in enumerate(block.group.names):
                self._set_address(f"past_{name}", block.tensor(index))
        self._bound = weakref.ref(owner)

    def _graph_of(self, state: GpuState) -> CudaGraph | None:
        """Return the CUDA graph of a lasting stream; None while it has none."""
        lasting = state.step >= LASTING_BANDS * (state.layout.slots + 1)
        if state not in self._graphs and self._captures and lasting and self._inferences:
            self._bind(state.blocks, state)
            graph = self._capture()
            if graph is not None:
                state.undo.callback(graph.close)  # before the memory that it reads is freed
                self._graphs[state] = graph
        return self._graphs.get(state)
