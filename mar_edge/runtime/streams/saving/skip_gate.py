"""Decides whether a step of a streaming model need not run, because nothing has moved since the last one that did."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mar_edge.errors import FrameError, OptionError
from mar_edge.geometry import Geometry

THRESHOLD = 2.0
"""Difference in grey levels (of 255) up to which a tubelet is still, where none is given.

Measured as `SkipGate` does, largest visible tubelet of a step, mask 50 %:

| what | 64 px, 10 fps | 224 px |
|---|---|---|
| demo camera standing still, sensor noise of a standard deviation of 12 at 640x480 | at most 0.8 | at most 1.4 |
| the same moving | at least 4.7 | at least 23 |
| a person signing before a still camera (compressed video; 15 fps at 224 px) | at least 0.9 | at least 2.3 |

What moves less than this from step to step runs once it has added up: of a pan of 0.02 view widths per second 7 of 50 steps are
skipped at 64 px, none at 224 px. At 224 px noise twice as strong, and compressed recordings of a room (none of 472 steps skipped at 2,
33 at 3), need 3.
"""


class SkipGate:
    """Compares the frames of a step with those of the last step that ran, in the tubelets that the mask shows at this step.

    Both are averaged over quarters of a patch, so that sensor noise is averaged out and what moves is not. A tubelet's difference is
    the mean over its quarters and colours, and the largest of the step counts: against the last frames that ran, so that a slow change
    adds up until it is seen, and between the frames of the step, so that a flicker in time with the steps is seen. Averages are
    rounded to whole grey levels.

    A step is skipped only after `settle_steps` still steps have run: then everything that the model keeps shows the still scene, and
    its answer would not change. After `max_skipped` steps one runs in any case.

    Not thread-safe. For each step call `still`; run the step unless it returns True; then call `processed`.

    Args:
        threshold: difference in grey levels, 0 to 255, up to which a tubelet is still; see `THRESHOLD`.
        geometry: of the model; its frames are the band.
        max_skipped: most steps that are skipped in a row. By default two less than the band has steps, so that a step which runs always
            sees the one before.
        settle_steps: still steps in a row that run before one is skipped; by default one less than the band has.

    Raises:
        OptionError: if a value is out of range.
    """

    def __init__(
        self,
        threshold: float = THRESHOLD,
        *,
        geometry: Geometry,
        max_skipped: int | None = None,
        settle_steps: int | None = None,
    ) -> None:
        band, rows, columns = geometry.grid
        self.threshold = threshold
        self.max_skipped = max(1, band - 2) if max_skipped is None else max_skipped
        self.settle_steps = band - 1 if settle_steps is None else settle_steps
        if not 0 < threshold <= 255:
            raise OptionError(
                f"the skip threshold is {threshold!r}; it must be above 0 and at most 255 grey levels, such as {THRESHOLD:g}"
            )
        for name, value, least in (("max_skipped", self.max_skipped, 1), ("settle_steps", self.settle_steps, 0)):
            if type(value) is not int or value < least:
                raise OptionError(f"{name} is {value!r}; it must be a whole number of steps, {least} or more")
        self._shape = (geometry.tubelet_frames, geometry.height_px, geometry.width_px, 3)
        self._quarters = 1 if geometry.patch_px % 2 else 2  # along a side of a patch
        self._grid = (rows, columns)
        self.reset()

    def reset(self) -> None:
        """Forget what ran: the stream began anew, its state was cleared, or the mask changed."""
        self._reference: NDArray[np.int16] | None = None
        self._moved = True
        self._settled = 0
        self.skipped = 0
        self.difference: float | None = None

    def state(self) -> tuple[NDArray[np.int16] | None, tuple[bool, int, int]]:
        """Return what it remembers: averages of the last frames that ran, not to be changed; and where it stands."""
        return self._reference, (self._moved, self._settled, self.skipped)

    def restore(self, reference: NDArray[np.int16] | None, stands: tuple[bool, int, int]) -> None:
        """Go on where another one for the same model stood.

        Raises:
            ValueError: if the averages are not of this model's size.
        """
        count, (rows, columns), parts = self._shape[0], self._grid, self._quarters
        shape = (count, rows * parts, columns * parts, 3)
        if reference is not None and (reference.dtype != np.int16 or reference.shape != shape):
            raise ValueError(f"its averages are {reference.dtype} {reference.shape}")
        self._reference = reference
        self._moved, self._settled, self.skipped = stands

    def still(self, frames: NDArray[np.uint8], visible: Sequence[int] | NDArray[np.integer]) -> bool:
        """Return whether the step need not run. Only a step for which this is True counts as skipped.

        Args:
            frames: uint8 (frames of a tubelet, H, W, 3) of this step, in the model's size.
            visible: indices of the places (of h*w, row by row) that the mask shows at this step.

        Raises:
            FrameError: if the frames have another shape or type.
            OptionError: if no place is visible.
        """
        if len(visible) == 0:
            raise OptionError("no place is visible; a step of any mask shows some")
        averages = self._average(frames)
        if self._reference is None:
            self._moved, self.difference = True, None
            return False
        differences = np.abs(averages - self._reference)
        if len(averages) > 1:
            differences = np.concatenate([differences, np.abs(averages[1:] - averages[:-1])])
        rows, columns = self._grid
        parts = self._quarters
        sums = differences.reshape(-1, rows, parts, columns, parts * 3).sum(axis=(2, 4), dtype=np.int32)  # (D, h, w)
        self.difference = float(sums.reshape(len(differences), -1)[:, visible].max()) / (3 * parts**2)
        self._moved = self.difference > self.threshold
        if self._moved or self._settled < self.settle_steps or self.skipped >= self.max_skipped:
            return False
        self.skipped += 1
        return True

    def processed(self, frames: NDArray[np.uint8]) -> None:
        """Remember the frames of a step that ran; they are not kept themselves.

        Raises:
            FrameError: if the frames have another shape or type.
        """
        self._reference = self._average(frames)
        self._settled = 0 if self._moved else self._settled + 1
        self._moved = True  # nothing is known of a step that runs without being asked about
        self.skipped = 0

    def _average(self, frames: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Return the averages over quarters of patches, (frames, 2h, 2w, 3)."""
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape != self._shape:
            seen = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
            raise FrameError(f"the frames of a step must be uint8 {self._shape}, not {seen}")
        count, height, width, _ = self._shape
        rows, columns = (side * self._quarters for side in self._grid)
        # one above the other, they are one picture to OpenCV
        stacked = np.ascontiguousarray(frames).reshape(count * height, width, 3)
        averages = cv2.resize(stacked, (columns, count * rows), interpolation=cv2.INTER_AREA)
        return averages.reshape(count, rows, columns, 3).astype(np.int16)
