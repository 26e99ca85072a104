"""What a streaming model keeps of one stream: keys and values of the time steps before the newest one.

Each earlier step of the band has a slot, and a new step overwrites the oldest; slots need no order, because time is in
the keys themselves. Which slots are attended is the `bias`: those that are empty or before the band are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import EngineError
from mar_edge.geometry import Geometry
from mar_edge.masking import PLACES, running_places
from mar_edge.model_spec import PERIOD

UNSEEN = np.float32(-1e4)
"""Added to the scores of keys that are not attended; FP16 can represent it, and its exponential is 0."""

EMPTY = -1

KINDS = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
"""NumPy type of each number format; NumPy has no bfloat16, so its bits are kept."""


@dataclass(frozen=True)
class StateLayout:
    """What a step graph keeps.

    Attributes:
        places: visible places of a time step at every phase of the clock, `PLACES` rows of N.
        slots: time steps that are kept: one less than the band.
        attentions: heads and head width of every attention.
        kind: number format of keys and values, one of `KINDS`.
    """

    places: tuple[tuple[int, ...], ...]
    slots: int
    attentions: tuple[tuple[int, int], ...]
    kind: str = "float32"

    @classmethod
    def of(
        cls, geometry: Geometry, mask_ratio: float, attentions: Iterable[tuple[int, int]], kind: str = "float32"
    ) -> StateLayout:
        """Return what a model's step graph keeps.

        Args:
            geometry: of the model.
            mask_ratio: share of hidden tokens.
            attentions: heads and head width of every attention.
            kind: number format of keys and values, one of `KINDS`.

        Raises:
            GeometryError: if the grid has no cells for the mask.
        """
        places = running_places(geometry.grid, mask_ratio)
        return cls(tuple(map(tuple, places.tolist())), geometry.grid[0] - 1, tuple(attentions), kind)

    @property
    def tokens(self) -> int:
        """Visible tokens of a time step (N)."""
        return len(self.places[0])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of keys and values, in turn for every attention; a graph has `past_NAME` and `new_NAME` of each."""
        return tuple(f"{kind}{layer}" for layer in range(len(self.attentions)) for kind in "kv")

    def shapes(self, steps: int) -> list[tuple[int, int, int, int]]:
        """Return the shapes (1, heads, steps * N, head width) of keys and values of some steps, in the order of `names`."""
        return [(1, heads, steps * self.tokens, width) for heads, width in self.attentions for _ in "kv"]

    @property
    def step_bytes(self) -> int:
        """Bytes that a step writes."""
        return sum(map(prod, self.shapes(1))) * np.dtype(KINDS[self.kind]).itemsize

    @property
    def bytes(self) -> int:
        """Bytes that are kept for a stream, all of which a step reads."""
        return self.slots * self.step_bytes


class StreamState:
    """The state of one stream. Not thread-safe.

    Args:
        layout: what is kept.

    Attributes:
        layout: as given.
        step: number of the next time step, counted from the first; steps that do not run count as well.
        held: number of the step in each slot, int64 (slots,); `EMPTY` for none.
        attended: which tokens of each slot exist, bool (slots, N); after a change to a lower mask some do not.
        bias: float32 (1, 1, 1, (slots + 1) * N) for the graph; the newest N are the step's own.
        kept: keys and values in turn for every attention, (1, heads, slots * N, head width) of the layout's kind, in the host's
            memory; always the same arrays, so that an engine can read them in place. Empty if an engine keeps them elsewhere.
        warm: share of the band that the newest answer saw, above 0 to 1.
    """

    def __init__(self, layout: StateLayout) -> None:
        self.layout = layout
        self.bias = np.zeros((1, 1, 1, (layout.slots + 1) * layout.tokens), np.float32)
        self.held = np.full(layout.slots, EMPTY, np.int64)
        self.attended = np.ones((layout.slots, layout.tokens), np.bool_)
        self.step = 0
        self.warm = 0.0
        self.kept = self._allocate()

    def _allocate(self) -> list[NDArray[Any]]:
        kind = KINDS[self.layout.kind]
        return [np.zeros(shape, kind) for shape in self.layout.shapes(self.layout.slots)]

    @property
    def clock(self) -> int:
        """Number of the next step for the graph."""
        return self.step % PERIOD

    @property
    def slot(self) -> int:
        """The slot that the next step overwrites: an empty one, or the oldest."""
        return int(self.held.argmin())

    def begin(self) -> None:
        """Prepare the next step: what it may see. The slot that it overwrites is empty until `finish`."""
        layout = self.layout
        inside = (self.held != EMPTY) & (self.held >= self.step - layout.slots)
        seen = inside[:, None] & self.attended
        self.bias[0, 0, 0, : seen.size] = np.where(seen, np.float32(0), UNSEEN).ravel()
        self._target, self._seen = self.slot, int(inside.sum())

    def take_slot(self) -> int:
        """Return the slot that the step's keys and values go into. What was in it is lost, even if the step fails."""
        self.held[self._target] = EMPTY
        return self._target

    def write(self, fresh: Sequence[NDArray[Any]]) -> None:
        """Write the step's keys and values, (1, heads, N, head width) each, into its slot."""
        first = self.take_slot() * self.layout.tokens
        for kept, new in zip(self.kept, fresh, strict=True):
            kept[:, :, first : first + self.layout.tokens] = new

    def finish(self) -> None:
        """Count the step whose keys and values were written."""
        self.held[self._target] = self.step
        self.attended[self._target] = True
        self.warm = (self._seen + 1) / (self.layout.slots + 1)
        self.step += 1

    def skip(self, steps: int = 1) -> None:
        """Count steps that do not run; those that leave the band are not seen any more."""
        self.step += steps

    def clear(self) -> None:
        """Empty the state; the next step is the first."""
        self.held[:] = EMPTY
        self.attended[:] = True
        self.step, self.warm = 0, 0.0

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that is kept, as copies."""
        whole = {
            "step": np.int64(self.step),
            "warm": np.float64(self.warm),
            "held": self.held,
            "attended": self.attended,
        }
        kept = dict(zip(self.layout.names, self.fetch(), strict=True))
        return {name: np.array(value) for name, value in {**whole, **kept}.items()}

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `to_arrays` of a state of the same layout returned.

        Raises:
            EngineError: if it is of another layout; the state is as it was before.
        """
        layout = self.layout
        kind, shapes = np.dtype(KINDS[layout.kind]), layout.shapes(layout.slots)
        expected: dict[str, Any] = {name: (shape, kind) for name, shape in zip(layout.names, shapes, strict=True)}
        expected |= {"held": (self.held.shape, self.held.dtype), "attended": (self.attended.shape, self.attended.dtype)}
        expected |= {"step": ((), np.dtype(np.int64)), "warm": ((), np.dtype(np.float64))}
        found = {name: (np.shape(array), np.asarray(array).dtype) for name, array in arrays.items()}
        if found != expected:
            wrong = next(name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name))
            raise EngineError(
                f"this state is of another model, mask or precision: {wrong} is {found.get(wrong)}, expected "
                f"{expected.get(wrong)}. Restore it in a session like the one it was taken from"
            )
        self.step, self.warm = int(arrays["step"]), float(arrays["warm"])
        self.held[:], self.attended[:] = arrays["held"], arrays["attended"]
        self.store([np.asarray(arrays[name]) for name in layout.names])

    def fetch(self) -> list[NDArray[Any]]:
        """Return keys and values in the host's memory, in the order of `StateLayout.names`; not to be written to."""
        return self.kept

    def store(self, kept: Sequence[NDArray[Any]]) -> None:
        """Replace all keys and values."""
        for mine, given in zip(self.kept, kept, strict=True):
            mine[:] = given

    def take_over(self, other: StreamState) -> None:
        """Take over the state of the same stream at another mask, with every token that both masks show.

        Masks of a higher ratio show a part of what the lower ones show. Tokens that the other mask did not show are not
        attended until their slot is overwritten.

        Args:
            other: of the same model and precision; not changed.

        Raises:
            EngineError: if it is of another model or precision.
        """
        ours, theirs = self.layout, other.layout
        if (ours.slots, ours.attentions, ours.kind) != (theirs.slots, theirs.attentions, theirs.kind):
            raise EngineError("this state is of another model or precision; only the mask may differ")
        self.step, self.warm = other.step, other.warm
        self.held[:] = other.held
        whole = [np.zeros(shape, KINDS[ours.kind]) for shape in ours.shapes(ours.slots)]
        source = other.fetch()
        for slot, step in enumerate(self.held):
            before, now = theirs.places[step % PLACES], ours.places[step % PLACES]
            at = {place: index for index, place in enumerate(before)}
            known = np.array([place in at for place in now])
            index = np.array([at.get(place, 0) for place in now])
            self.attended[slot] = known & other.attended[slot][index]
            for mine, given in zip(whole, source, strict=True):
                part = given[:, :, slot * theirs.tokens : (slot + 1) * theirs.tokens]
                mine[:, :, slot * ours.tokens : (slot + 1) * ours.tokens] = part[:, :, index]
        self.store(whole)
