"""The cell running mask: the tokens of a clip that the encoder sees.

All masks are boolean arrays over the token grid (t, h, w), True = visible, flattened in C order to token indices.
Training, export and calibration take their masks from here.

Source: MAR, arXiv 2207.11660, section 3.2. A cell of 2x2 tokens is read row by row; the first `4 * ratio` places are
hidden at phase 0, and the pattern moves one place to the right with every time step.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mar_edge.errors import GeometryError
from mar_edge.geometry import CELL, Grid

Mask = NDArray[np.bool_]

PLACES = CELL * CELL
"""Places in a cell, which is also the period of the mask in time steps."""

MASK_RATIOS = tuple(k / PLACES for k in range(PLACES))
"""Ratios of the cell running mask: 0, 0.25, 0.5, 0.75."""

MaskKind = Literal["cell_running", "random", "tube", "frame"]


def cell_running_mask(grid: Grid, ratio: float, phase: ArrayLike = 0) -> Mask:
    """Return the cell running mask of a clip.

    Args:
        grid: tokens as (t, h, w); h and w must be multiples of 2.
        ratio: share of hidden tokens, one of 0, 0.25, 0.5, 0.75.
        phase: place at which the pattern starts, 0 to 3. 0 is the test mask; training draws one. An array of shape
            (h/2, w/2) gives every cell its own.

    Returns:
        bool (t, h, w), True = visible.

    Raises:
        GeometryError: if the grid is not divisible into cells or the ratio is not one of the four.
    """
    t, h, w = _check_grid(grid)
    if h % CELL or w % CELL:
        raise GeometryError(
            f"a grid of {h}x{w} tokens is not divisible into {CELL}x{CELL} mask cells; "
            f"use a multiple of {CELL} tokens in each direction, for instance {h + h % CELL}x{w + w % CELL}"
        )
    if ratio not in MASK_RATIOS:
        raise GeometryError(f"mask ratio {ratio} is not one of {', '.join(f'{r:g}' for r in MASK_RATIOS)}")
    hidden = round(ratio * PLACES)
    place = np.arange(PLACES).reshape(1, 1, CELL, 1, CELL)
    shift = np.broadcast_to(np.asarray(phase), (h // CELL, w // CELL)).reshape(1, h // CELL, 1, w // CELL, 1)
    step = np.arange(t).reshape(t, 1, 1, 1, 1)
    visible: Mask = (place - shift - step) % PLACES >= hidden  # (t, h/2, 2, w/2, 2)
    return visible.reshape(t, h, w)


def deployed_mask(grid: Grid, ratio: float) -> Mask:
    """Return the mask of a deployed graph: the cell running mask at phase 0; without a mask no cells are needed.

    Args:
        grid: tokens as (t, h, w); h and w must be multiples of 2 unless the ratio is 0.
        ratio: share of hidden tokens, one of 0, 0.25, 0.5, 0.75.

    Returns:
        bool (t, h, w), True = visible.

    Raises:
        GeometryError: as `cell_running_mask`.
    """
    return cell_running_mask(grid, ratio) if ratio else np.ones(_check_grid(grid), np.bool_)


def running_places(grid: Grid, ratio: float) -> NDArray[np.int64]:
    """Return the visible places of a time step at every phase of the cell running mask.

    Args:
        grid: as for `deployed_mask`.
        ratio: as for `deployed_mask`.

    Returns:
        (PLACES, N): row p for the time steps whose number modulo `PLACES` is p, indices into a time step's h * w places.

    Raises:
        GeometryError: as `cell_running_mask`.
    """
    _, h, w = _check_grid(grid)
    return np.stack([np.flatnonzero(step) for step in deployed_mask((PLACES, h, w), ratio)])


def temporal_shuffle(mask: Mask, rng: np.random.Generator) -> Mask:
    """Put the time steps of a mask into random order, as in MAR's training."""
    return mask[rng.permutation(mask.shape[0])]


def training_mask(grid: Grid, ratio: float, rng: np.random.Generator, kind: MaskKind = "cell_running") -> Mask:
    """Draw a training mask: for the cell running mask a random phase, then random order of its time steps."""
    if kind == "cell_running":
        return temporal_shuffle(cell_running_mask(grid, ratio, int(rng.integers(PLACES))), rng)
    return {"random": random_mask, "tube": tube_mask, "frame": frame_mask}[kind](grid, ratio, rng)


def random_mask(grid: Grid, ratio: float, rng: np.random.Generator) -> Mask:
    """Hide `int(ratio * tokens)` tokens anywhere in the clip."""
    t, h, w = _check_grid(grid)
    return _draw(t * h * w, ratio, rng).reshape(t, h, w)


def tube_mask(grid: Grid, ratio: float, rng: np.random.Generator) -> Mask:
    """Hide the same `int(ratio * h * w)` places in every time step (VideoMAE, arXiv 2203.12602)."""
    t, h, w = _check_grid(grid)
    return np.repeat(_draw(h * w, ratio, rng).reshape(1, h, w), t, axis=0)


def frame_mask(grid: Grid, ratio: float, rng: np.random.Generator) -> Mask:
    """Hide `int(ratio * t)` complete time steps."""
    t, h, w = _check_grid(grid)
    return np.broadcast_to(_draw(t, ratio, rng).reshape(t, 1, 1), (t, h, w)).copy()


def visible_indices(mask: Mask) -> NDArray[np.int64]:
    """Return the token indices (N,) that a mask (t, h, w) shows, in token order."""
    return np.flatnonzero(mask).astype(np.int64)


def masked_indices(mask: Mask) -> NDArray[np.int64]:
    """Return the token indices (M,) that a mask (t, h, w) hides, in token order."""
    return np.flatnonzero(~mask).astype(np.int64)


def _check_grid(grid: Grid) -> Grid:
    if len(grid) != 3 or min(grid) < 1:
        raise GeometryError(f"a token grid must be (t, h, w) with positive numbers, not {tuple(grid)}")
    return grid


def _draw(places: int, ratio: float, rng: np.random.Generator) -> Mask:
    hidden = int(ratio * places)
    if not 0 <= ratio < 1 or hidden >= places:
        raise GeometryError(
            f"mask ratio {ratio} leaves none of {places} places visible; use a ratio of at least 0 and below 1"
        )
    mask = np.ones(places, dtype=np.bool_)
    mask[rng.choice(places, size=hidden, replace=False)] = False
    return mask
