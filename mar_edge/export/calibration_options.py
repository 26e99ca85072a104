"""How INT8 is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mar_edge.calibration.calibrate import PLACEMENTS
from mar_edge.calibration.ranges import Method
from mar_edge.model_spec import Placement


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """How INT8 is made.

    Attributes:
        data: videos whose activations are measured, see `find_labelled_videos`; None for the demo camera.
        clips: how many clips of them; None for `ADVISED_CLIPS`.
        method: how ranges are chosen, see `calibration.ranges`; `auto` takes what gives the smallest divergence.
        target_drop: loss of top-1 in points that may remain (of agreement with FP32 where there are no labels); the worst
            blocks are kept in FP32 until it does. None for no limit but the bounds of INT8.
        measure_blocks: whether the damage of each block is measured even if no block need be kept.
        placements: for which engines graphs are made, `cpu` and `tensorrt`.
        cache: folder that keeps statistics, so that an interrupted run resumes; None for none.
    """

    data: Path | None = None
    clips: int | None = None
    method: Method | Literal["auto"] = "auto"
    target_drop: float | None = None
    measure_blocks: bool = False
    placements: tuple[Placement, ...] = PLACEMENTS
    cache: Path | None = None
