"""The cell running mask and the masks it is compared with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge import masking
from mar_edge.errors import GeometryError

ratios = st.sampled_from(masking.MASK_RATIOS)
grids = st.tuples(st.integers(1, 12), st.integers(1, 8).map(lambda n: 2 * n), st.integers(1, 8).map(lambda n: 2 * n))


@given(grids, ratios, st.integers(0, 3))
def test_hides_its_share_in_every_cell(grid: tuple[int, int, int], ratio: float, phase: int) -> None:
    mask = masking.cell_running_mask(grid, ratio, phase)
    assert mask.shape == grid
    cells = mask.reshape(grid[0], grid[1] // 2, 2, grid[2] // 2, 2)
    assert (cells.sum(axis=(2, 4)) == 4 - 4 * ratio).all()


@given(grids, ratios, st.integers(0, 3))
def test_every_place_is_seen_equally_often_over_a_period(grid: tuple[int, int, int], ratio: float, phase: int) -> None:
    mask = masking.cell_running_mask((4, *grid[1:]), ratio, phase)
    assert (mask.sum(axis=0) == 4 - 4 * ratio).all()


@given(grids, ratios, st.integers(0, 3))
def test_moves_one_place_every_time_step(grid: tuple[int, int, int], ratio: float, phase: int) -> None:
    later = masking.cell_running_mask(grid, ratio, (phase + 1) % 4)
    longer = masking.cell_running_mask((grid[0] + 1, *grid[1:]), ratio, phase)
    assert np.array_equal(later, longer[1:])


def test_the_pattern_of_the_paper() -> None:
    first = masking.cell_running_mask((5, 2, 2), 0.5).reshape(5, 4).astype(int).tolist()
    assert first == [[0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_each_cell_may_have_its_own_phase() -> None:
    mask = masking.cell_running_mask((1, 2, 4), 0.75, [[0, 2]])
    assert mask[0].astype(int).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]


@given(grids, ratios, st.integers(0, 1000))
def test_training_mask_is_a_shuffled_test_mask(grid: tuple[int, int, int], ratio: float, seed: int) -> None:
    mask = masking.training_mask(grid, ratio, np.random.default_rng(seed))
    steps = {masking.cell_running_mask((1, *grid[1:]), ratio, phase)[0].tobytes() for phase in range(4)}
    assert {step.tobytes() for step in mask} <= steps
    assert mask.sum() == masking.cell_running_mask(grid, ratio).sum()


@given(grids, st.floats(0, 0.95), st.integers(0, 1000))
def test_masks_for_comparison(grid: tuple[int, int, int], ratio: float, seed: int) -> None:
    t, h, w = grid
    rng = np.random.default_rng(seed)
    assert (~masking.random_mask(grid, ratio, rng)).sum() == int(ratio * (t * h * w))
    tube = masking.tube_mask(grid, ratio, rng)
    assert (tube == tube[0]).all()
    assert (~tube[0]).sum() == int(ratio * (h * w))
    frame = masking.frame_mask(grid, ratio, rng)
    assert (frame.all(axis=(1, 2)) | ~frame.any(axis=(1, 2))).all()
    assert (~frame[:, 0, 0]).sum() == int(ratio * t)


@given(grids, ratios)
def test_indices_are_in_token_order_and_share_the_clip(grid: tuple[int, int, int], ratio: float) -> None:
    mask = masking.cell_running_mask(grid, ratio)
    visible, masked = masking.visible_indices(mask), masking.masked_indices(mask)
    assert (np.diff(visible) > 0).all()
    assert sorted([*visible, *masked]) == list(range(mask.size))


@pytest.mark.parametrize("grid", [(8, 7, 8), (8, 8, 7)])
def test_a_grid_without_whole_cells_names_one_that_works(grid: tuple[int, int, int]) -> None:
    with pytest.raises(GeometryError, match="8x8"):
        masking.cell_running_mask(grid, 0.5)


@pytest.mark.parametrize("ratio", [0.3, 1.0, -0.25, float("nan")])
def test_an_unknown_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(GeometryError, match=r"0, 0\.25, 0\.5, 0\.75"):
        masking.cell_running_mask((8, 4, 4), ratio)


def test_a_mask_that_leaves_nothing_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(GeometryError, match="leaves none of"):
        masking.random_mask((2, 2, 2), 1.0, rng)
    with pytest.raises(GeometryError, match="positive"):
        masking.tube_mask((2, 0, 2), 0.5, rng)
