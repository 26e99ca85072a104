"""The engines of one model at several masks: loaded when they are first needed, and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from mar_edge.errors import OptionError
from mar_edge.runtime.engines.engine import Engine


class Unloaded(NamedTuple):
    """A graph that can be loaded.

    Attributes:
        gmacs: multiply-accumulates of an inference / 1e9.
        load: loads it.
    """

    gmacs: float
    load: Callable[[], Engine]


class EngineSet:
    """The engines of one model, in one precision, by mask. Thread-safe.

    Args:
        engine: the one that is loaded.
        others: what can be loaded, by mask in percent.

    Attributes:
        first: the engine that was given.

    Raises:
        OptionError: if it is no engine.
    """

    def __init__(self, engine: Engine, others: Mapping[int, Unloaded] | None = None) -> None:
        if not isinstance(engine, Engine):
            raise OptionError(
                f"{engine!r} is not an engine. A loaded model has one: model = mar_edge.load(NAME); model.engine, or "
                "model.session() for a session"
            )
        self.first = engine
        self._loaded = {engine.variant.mask: engine}
        self._others = {mask: one for mask, one in (others or {}).items() if mask not in self._loaded}
        self._turn = threading.Lock()

    @property
    def gmacs(self) -> dict[int, float]:
        """Multiply-accumulates of an inference / 1e9, by mask in percent, the lowest first."""
        known = {mask: one.gmacs for mask, one in self._others.items()}
        known[self.first.variant.mask] = self.first.variant.gmacs
        return dict(sorted(known.items()))

    @property
    def masks(self) -> tuple[int, ...]:
        """Masks in percent, the lowest first."""
        return tuple(self.gmacs)

    def at(self, mask: int) -> Engine:
        """Return the engine at a mask; the first call for it may take seconds, and memory for another copy of the weights.

        Raises:
            OptionError: if the model has no such graph.
            BundleError, EngineError: if it cannot be loaded.
        """
        self.first.check_process()
        with self._turn:
            if mask not in self._loaded:
                if mask not in self._others:
                    spec, variant = self.first.spec, self.first.variant
                    raise OptionError(
                        f"{spec.name} has no {variant.precision} graph at mask {mask!r} for {self.first.name}; "
                        f"it has {', '.join(map(str, self.masks))}"
                    )
                self._loaded[mask] = self._others[mask].load()
            return self._loaded[mask]

    def load(self, masks: Iterable[int] | None = None) -> None:
        """Load engines ahead, so that a change to them takes no time.

        Args:
            masks: in percent; None for all.

        Raises:
            OptionError, BundleError, EngineError: as `at`.
        """
        for mask in self.masks if masks is None else masks:
            self.at(mask)
