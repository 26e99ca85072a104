"""Options of INT8 calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mar_edge.calibration.calibrate import PLACEMENTS
from mar_edge.calibration.ranges import Method
from mar_edge.model_spec import Placement


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """Options of INT8 calibration.

    Attributes:
        data: videos whose activations are measured, see `find_labelled_videos`; None for the demo camera.
        clips: number of clips; None for `ADVISED_CLIPS`.
        method: how ranges are chosen, see `calibration.ranges`; `auto` uses the method with the smallest divergence.
        target_drop: loss of top-1 in points that may remain (of agreement with FP32 without labels); the worst
            blocks are kept in FP32 until it is met. None for only the bounds of INT8.
        measure_blocks: whether the damage of each block is measured even if no block need be kept.
        placements: engines that graphs are created for, `cpu` and `tensorrt`.
        cache: folder for statistics, so that an interrupted run resumes; None for none.
    """

    data: Path | None = None
    clips: int | None = None
    method: Method | Literal["auto"] = "auto"
    target_drop: float | None = None
    measure_blocks: bool = False
    placements: tuple[Placement, ...] = PLACEMENTS
    cache: Path | None = None
