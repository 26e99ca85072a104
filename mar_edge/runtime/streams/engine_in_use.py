"""Which engine of a model runs the next inference: that of one mask, or of the mask that a dial chooses."""

from __future__ import annotations

import time
from collections.abc import Callable

from mar_edge.errors import OptionError
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.engine_set import EngineSet
from mar_edge.runtime.streams.saving.dial import Dial, DialOptions, limits_of


class EngineInUse:
    """The engine of the next inference. Not thread-safe.

    Args:
        engines: the model's.
        mask: to begin with, percent; None for that of the engine that is loaded.
        dial: what recognition may spend; then all masks are loaded, and changed between inferences.

    Attributes:
        engine: the engine.
        dial: as given; None without any limit.
        tell: called with a code and a sentence for the operator: `mask` when the dial has changed it, `dial` for what it
            cannot keep.

    Raises:
        OptionError: if the model has no such mask, or nothing for a dial to choose from; or the device lacks a sensor.
        BundleError, EngineError: if a graph cannot be loaded.
    """

    def __init__(
        self,
        engines: EngineSet,
        *,
        mask: int | None = None,
        dial: DialOptions | None = None,
    ) -> None:
        self._engines = engines
        self.tell: Callable[[str, str], None] = _tell_nobody
        self.dial = limits_of(dial)
        self.engine: Engine = engines.first if mask is None else engines.at(mask)
        self._dial: Dial | None = None
        if self.dial is None:
            return
        if len(engines.masks) == 1:
            first = engines.first
            raise OptionError(
                f"{first.spec.name} has a {first.variant.precision} graph at mask {first.variant.mask} only, so there is "
                "nothing for a dial to choose from. Export it with several masks: mar-edge export ... --mask 50 --mask 75"
            )
        engines.load()
        start = self.engine.variant.mask
        self._dial = Dial(
            self.dial, engines.masks, gmacs=engines.gmacs, start=start, warn=lambda message: self.tell("dial", message)
        )

    def set_mask(self, mask: int) -> None:
        """Change the mask; the first change to it loads the graph.

        Raises:
            OptionError: if the model has no such mask, or a dial chooses.
            BundleError, EngineError: if the graph cannot be loaded.
        """
        if self._dial is not None:
            raise OptionError("the dial chooses the mask; leave out the dial to choose it yourself")
        self.engine = self._engines.at(mask)

    def note(self, inference_ms: float) -> None:
        """Note how long an inference took, milliseconds; the dial may change the mask."""
        if self._dial is None:
            return
        before, mask = self._dial.mask, self._dial.after(inference_ms, time.monotonic())
        if mask is not None:
            self.engine = self._engines.at(mask)
            self.tell("mask", f"mask {mask} % instead of {before} %: {self._dial.reason}")


def _tell_nobody(_code: str, _message: str) -> None:
    """Say nothing: nobody listens yet."""
