"""The drawn hand: its shape, its landmarks, and what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mar_edge.runtime.sources.demo.hand import draw_hand
from mar_edge.runtime.sources.demo.hand_pose import POSES


@pytest.mark.parametrize("palm_view", [False, True])
@pytest.mark.parametrize("pose", POSES)
def test_every_landmark_lies_on_the_hand(pose: str, palm_view: bool) -> None:
    picture, landmarks = draw_hand(np.random.default_rng(3), 96, pose, palm_view=palm_view)
    assert picture.dtype == np.uint8 and picture.shape[2] == 4
    assert max(picture.shape[:2]) in range(94, 99)
    assert landmarks.shape == (21, 2) and landmarks.dtype == np.float32
    columns, rows = np.round(landmarks).astype(int).T
    assert (picture[rows, columns, 3] > 128).all()


def test_its_outline_is_smooth_and_its_skin_natural() -> None:
    picture, _ = draw_hand(np.random.default_rng(1), 120, "open")
    alpha = picture[..., 3]
    assert np.isin([0, 255], alpha).all()
    assert ((alpha > 0) & (alpha < 255)).sum() > 100
    red, green, blue = picture[alpha == 255][:, :3].mean(axis=0)
    assert red > green > blue


def test_a_pointing_hand_points_up_with_its_index_finger_alone() -> None:
    for seed in range(5):
        _, landmarks = draw_hand(np.random.default_rng(seed), 64, "pointing", tilt_deg=(10, 0, 0))
        wrist, tips = landmarks[0], landmarks[[4, 8, 12, 16, 20]]
        assert tips[:, 1].argmin() == 1
        assert wrist[1] > landmarks[[5, 9, 13, 17], 1].max()
        folded = np.linalg.norm(landmarks[[12, 16, 20]] - landmarks[[9, 13, 17]], axis=1)
        assert np.linalg.norm(landmarks[8] - landmarks[5]) > 1.5 * folded.max()


def test_the_thumb_of_a_right_hand_is_left_when_its_back_is_seen_and_right_when_its_palm_is() -> None:
    def thumb_is_left(**view: bool) -> bool:
        _, landmarks = draw_hand(np.random.default_rng(2), 64, "open", tilt_deg=(0, 0, 0), **view)
        return bool(landmarks[4, 0] < landmarks[20, 0])

    assert thumb_is_left(left=False) and thumb_is_left(left=True, palm_view=True)
    assert not thumb_is_left(left=True) and not thumb_is_left(left=False, palm_view=True)


def test_a_forearm_and_its_sleeve_are_drawn_below_the_hand_of_the_same_size() -> None:
    hand, landmarks = draw_hand(np.random.default_rng(5), 80)
    arm, same = draw_hand(np.random.default_rng(5), 80, forearm=2.0, sleeve=1.0)
    assert arm.shape[0] > hand.shape[0] + 60
    np.testing.assert_allclose(landmarks - landmarks[0], same - same[0], atol=1e-3)
    bare, _ = draw_hand(np.random.default_rng(5), 80, forearm=2.0)
    last = arm[-10, :, 3] == 255
    assert last.sum() > (bare[-10, :, 3] == 255).sum()  # cloth is wider than the arm in it


def test_the_same_seed_draws_the_same_hand_and_another_one_another() -> None:
    once, twice = (draw_hand(np.random.default_rng(4), 48)[0] for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    other, _ = draw_hand(np.random.default_rng(9), 48)
    assert other.shape != once.shape or (other != once).any()


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(ValueError, match=r"no pose 'wave' is known; use one of pointing, open"):
        draw_hand(np.random.default_rng(0), pose="wave")
    with pytest.raises(ValueError, match=r"7 px cannot be drawn; use 8 px or more"):
        draw_hand(np.random.default_rng(0), 7)
    assert draw_hand(np.random.default_rng(0), 8)[0].shape[0] >= 8
