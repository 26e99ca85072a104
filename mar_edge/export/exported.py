"""What an export gave."""

from __future__ import annotations

from dataclasses import dataclass

from mar_edge.bundle import Bundle
from mar_edge.calibration.sensitivity import Damage
from mar_edge.calibration.trade_off import Row


@dataclass(frozen=True)
class Quantised:
    """What was measured while an INT8 graph was made.

    Attributes:
        title: of the variant.
        name: for files, as `mask50-int8-cpu`.
        damages: of each block when it alone is INT8, the worst one first; empty if not measured.
        rows: what was tried to choose the blocks that stay FP32, the chosen one last; empty if none was to be chosen.
    """

    title: str
    name: str
    damages: tuple[Damage, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        bundle: as it is on disk.
        failures: why a graph that was asked for is not in it and what to do next, one text each.
        warnings: one sentence for whatever else should be known.
        quantised: how the INT8 graphs came about.
    """

    bundle: Bundle
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    quantised: tuple[Quantised, ...]
