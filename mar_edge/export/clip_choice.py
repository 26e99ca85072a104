"""Chooses the clips for calibration, and for the comparison with torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mar_edge.calibration.collection import ADVISED_CLIPS
from mar_edge.evaluation.labelled_clips import FEWEST_TO_SPLIT, find_labelled_videos
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.model_spec import ModelSpec
from mar_edge.reporting import Progress, Warn, no_progress, no_warning
from mar_edge.runtime.measurement.clip_set import ClipSet

GATE_CLIPS = 8
"""Clips of the demo camera for the comparison without data."""

GATE_CLIPS_OF_DATA = 64
"""Clips of given data for the comparison."""


@dataclass(frozen=True)
class ClipChoice:
    """The clips of an export.

    Attributes:
        gate: clips for the comparison with torch.
        calibration: clips for calibration; None without INT8.
        wanted: number of clips requested for calibration; 0 without INT8.
    """

    gate: ClipSet
    calibration: ClipSet | None = None
    wanted: int = 0

    @property
    def overlap(self) -> bool:
        """Whether INT8 is compared on videos that it was calibrated on."""
        if self.calibration is None:
            return False
        mine, theirs = self.gate.files, self.calibration.files
        return bool(set(mine) & set(theirs)) or (not mine and not theirs)


def choose_clips(
    spec: ModelSpec,
    data: Path | None,
    count: int | None,
    calibration: CalibrationOptions | None,
    *,
    warn: Warn = no_warning,
    progress: Progress = no_progress,
) -> ClipChoice:
    """Choose the clips of an export.

    Without data, graphs are compared on videos that are held out from those of the calibration; if there are too
    few, on the same videos.

    Args:
        spec: the model.
        data: videos that graphs are compared on, see `find_labelled_videos`; None for those of the calibration, or
            the demo camera.
        count: clips to compare on; None for `GATE_CLIPS` of the demo camera, or `GATE_CLIPS_OF_DATA` of videos.
        calibration: options of INT8; None without INT8.
        warn: called with notices about the videos.
        progress: called while the files of a folder are opened.

    Raises:
        SourceError, DataError: if there is no video, or one that cannot be read.
    """
    measured = None
    if calibration is not None:
        measured = find_labelled_videos(spec, calibration.data, warn=warn, progress=progress)
    parts = measured.split() if measured is not None and data is None else None
    if parts is not None:
        measured, held_out = parts
        gate = held_out.clips(count or GATE_CLIPS_OF_DATA, warn=warn, strict=True)
    else:
        judged = measured
        if judged is None or data is not None:
            judged = find_labelled_videos(spec, data, warn=warn, progress=progress)
        gate = judged.clips(count or (GATE_CLIPS_OF_DATA if judged.files else GATE_CLIPS), warn=warn)
    if calibration is None or measured is None:
        return ClipChoice(gate)
    wanted = calibration.clips or ADVISED_CLIPS
    choice = ClipChoice(gate, measured.clips(wanted, warn=warn, strict=True), wanted)
    if choice.overlap and calibration.data is not None:
        warn(
            f"int8 is compared on videos that it was calibrated on; with {FEWEST_TO_SPLIT} videos or more some are held out "
            f"for that, and {calibration.data} has {len(measured.files)}"
            if data is None
            else f"int8 is compared on videos that it was calibrated on: {data} and {calibration.data} have some in common"
        )
    return choice
