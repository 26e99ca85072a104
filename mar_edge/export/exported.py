"""The result of an export."""

from __future__ import annotations

from dataclasses import dataclass

from mar_edge.bundle import Bundle
from mar_edge.calibration.sensitivity import Damage
from mar_edge.calibration.trade_off import Row


@dataclass(frozen=True)
class Quantised:
    """Measurements of the creation of an INT8 graph.

    Attributes:
        title: of the variant.
        name: for files, such as `mask50-int8-cpu`.
        damages: of each block when only it is INT8, the worst one first; empty if not measured.
        rows: the choices of FP32 blocks that were tried, the chosen one last; empty if none had to be chosen.
    """

    title: str
    name: str
    damages: tuple[Damage, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        bundle: the bundle on disk.
        failures: why a requested graph is missing and what to do next, one text each.
        warnings: other notices, one sentence each.
        quantised: how the INT8 graphs were created.
    """

    bundle: Bundle
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    quantised: tuple[Quantised, ...]
