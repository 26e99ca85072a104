"""Augmentation of training clips."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from mar_edge.errors import FrameError, RecipeError
from mar_edge.runtime.clips.preprocess import Resize, preprocess
from mar_edge.training.augmentation import clip_ops
from mar_edge.training.augmentation.augmentation import Augmentation, AugmentPart
from mar_edge.training.augmentation.rand_augment import OPERATIONS, RandAugmentPart, rand_augment

LABELS = ("pan_left", "pan_right", "still")
EVERYTHING: dict[str, Any] = {
    "reverse": 0.5, "crop_scale": [0.3, 1], "flip": 0.5, "rotation_deg": 10, "shear": 0.1, "shift": 0.1,
    "rand_augment": {"ops": 4}, "saturation": 0.5, "hue": 0.2, "grey": 0.2, "gamma": [0.5, 2], "brightness": 0.5,
    "contrast": 0.5, "blur": 0.5, "noise": 10, "erase": 0.5,
}  # fmt: skip


def footage(frames: int = 4, height: int = 40, width: int = 56, seed: int = 0) -> NDArray[np.uint8]:
    """A clip of random blocks, four pixels wide."""
    blocks = np.random.default_rng(seed).integers(0, 256, (frames, height // 4, width // 4, 3), dtype=np.uint8)
    return blocks.repeat(4, axis=1).repeat(4, axis=2)


def places(height: int = 256, width: int = 256, frames: int = 2) -> NDArray[np.uint8]:
    """A static clip whose red tells the column and whose green the row."""
    clip = np.zeros((frames, height, width, 3), np.uint8)
    clip[..., 0] = np.arange(width)
    clip[..., 1] = np.arange(height)[:, None]
    return clip


def augmentation(size: tuple[int, int] = (32, 32), resize: Resize = "stretch", **values: Any) -> Augmentation:
    return Augmentation(
        AugmentPart.model_validate(values), height_px=size[0], width_px=size[1], labels=LABELS, resize=resize
    )


def augmented(clip: NDArray[np.uint8], seed: int = 0, **values: Any) -> NDArray[np.uint8]:
    return augmentation(**values)(clip, 0, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("resize", ["stretch", "center_crop"])
@pytest.mark.parametrize("size", [(32, 32), (24, 48), (96, 80), (40, 56)])
def test_everything_off_is_what_the_model_sees_when_it_runs(resize: Resize, size: tuple[int, int]) -> None:
    clip, rng = footage(), np.random.default_rng(0)
    before = rng.bit_generator.state
    out, label = augmentation(size, resize)(clip, 1, rng)
    expected = [preprocess(f, height_px=size[0], width_px=size[1], resize=resize, color="rgb") for f in clip]
    assert np.array_equal(out, np.stack(expected))
    assert label == 1
    assert rng.bit_generator.state == before
    assert np.array_equal(augmentation(size, resize, **EVERYTHING).plain(clip), out)


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(1, 5), st.integers(1, 70), st.integers(1, 70)), st.integers(0, 99), st.sampled_from(["stretch", "center_crop"]))  # fmt: skip
def test_any_clip_comes_out_at_the_models_size(shape: tuple[int, int, int], seed: int, resize: Resize) -> None:
    rng = np.random.default_rng(seed)
    clip = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    kept = clip.copy()
    clip.flags.writeable = False  # as memory-mapped clips are
    out, label = augmentation((32, 48), resize, **EVERYTHING)(clip, 2, rng)
    assert out.shape == (shape[0], 32, 48, 3)
    assert out.dtype == np.uint8
    assert out.flags.writeable
    assert label == 2
    assert np.array_equal(clip, kept)


@pytest.mark.parametrize("key", [*(key for key in EVERYTHING if key != "noise"), "all"])
def test_a_static_clip_stays_static(key: str) -> None:
    still = footage(frames=1).repeat(5, axis=0)
    values = {k: v for k, v in EVERYTHING.items() if key in (k, "all") and k != "noise"}
    for seed in range(20):
        out = augmented(still, seed, **values)
        assert (out == out[:1]).all()


def test_each_key_does_something_by_itself() -> None:
    clip = footage(height=32, width=32)
    for key, value in EVERYTHING.items():
        changed = [not np.array_equal(augmented(clip, seed, **{key: value}), clip) for seed in range(20)]
        assert any(changed), key


def test_the_same_generator_gives_the_same_clip_in_another_process() -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from tests.training.test_augmentation import EVERYTHING, augmented, footage\n"
        "print(hashlib.sha256(b''.join(augmented(footage(), s, **EVERYTHING).tobytes() for s in range(8))).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    here = hashlib.sha256(b"".join(augmented(footage(), s, **EVERYTHING).tobytes() for s in range(8))).hexdigest()
    assert other == here
    copy = pickle.loads(pickle.dumps(augmentation(**EVERYTHING)))  # as it goes to worker processes
    assert np.array_equal(copy(footage(), 0, np.random.default_rng(3))[0], augmented(footage(), 3, **EVERYTHING))
    assert not np.array_equal(augmented(footage(), 0, **EVERYTHING), augmented(footage(), 1, **EVERYTHING))


def test_a_flip_mirrors_the_picture_and_swaps_the_labels_that_it_says() -> None:
    clip = footage(height=32, width=32)
    mirror = augmentation(flip=1, flip_swaps=[["pan_left", "pan_right"]])
    for label, expected in [(0, 1), (1, 0), (2, 2)]:
        out, got = mirror(clip, label, np.random.default_rng(0))
        assert np.array_equal(out, clip[:, :, ::-1])
        assert got == expected
    assert mirror.warnings == []


def test_half_of_the_clips_are_flipped_and_their_labels_with_them() -> None:
    clip = footage(height=32, width=32)
    mirror = augmentation(flip=0.5, flip_swaps=[["pan_left", "pan_right"]])
    labels = []
    for seed in range(200):
        out, label = mirror(clip, 0, np.random.default_rng(seed))
        assert np.array_equal(out, clip[:, :, ::-1] if label else clip)
        labels.append(label)
    assert 70 < sum(labels) < 130


def test_reverse_plays_backwards_and_swaps_labels() -> None:
    clip = footage(height=32, width=32)
    backwards = Augmentation(
        AugmentPart.model_validate({"reverse": 1, "reverse_swaps": [["Sit", "Stand"], ["Wave", "Wave"]]}),
        height_px=32, width_px=32, labels=["Sit", "Stand", "Wave"], resize="stretch",
    )  # fmt: skip
    assert backwards.warnings == []
    for label, expected in [(0, 1), (1, 0), (2, 2)]:
        out, got = backwards(clip, label, np.random.default_rng(0))
        assert np.array_equal(out, clip[::-1])
        assert got == expected


def test_an_unknown_label_is_named_with_the_nearest() -> None:
    with pytest.raises(
        RecipeError, match=r"augment.flip_swaps: 'pan_lefft' is not a label .* 'pan_left'\?.*'zzz'.*pan_right, still"
    ):
        augmentation(flip=1, flip_swaps=[["pan_lefft", "zzz"]])
    with pytest.raises(RecipeError, match=r"augment\.reverse_swaps: 'Still'.*'still'"):
        augmentation(reverse_swaps=[["pan_left", "Still"]])


def test_labels_that_are_numbers_can_be_swapped() -> None:
    part = AugmentPart.model_validate({"flip": 1, "flip_swaps": [[86, "87"]]})
    mirror = Augmentation(part, height_px=8, width_px=8, labels=[str(n) for n in range(90)], resize="stretch")
    assert mirror(footage(), 86, np.random.default_rng(0))[1] == 87


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["pan_left", "pan_right", "still"], ["add to augment.flip_swaps: [pan_left, pan_right]"]),
        (["turnLeft", "turnRight"], ["[turnLeft, turnRight]"]),
        (["Pushing something from left to right", "Pushing something from right to left", "Poking"],
         ["[Pushing something from left to right, Pushing something from right to left]"]),
        (["roll_clockwise", "roll_counter_clockwise"], ["[roll_clockwise, roll_counter_clockwise]"]),
        (["spin clockwise", "spin anti-clockwise"], ["[spin anti-clockwise, spin clockwise]"]),
        (["Moving left", "Sitting"], ["Moving left would keep", "name the pairs in augment.flip_swaps or set augment.flip to 0"]),
    ],
)  # fmt: skip
def test_flips_of_directions_are_warned_of(labels: list[str], told: list[str]) -> None:
    def warnings(**values: Any) -> list[str]:
        part = AugmentPart.model_validate(values)
        return Augmentation(part, height_px=8, width_px=8, labels=labels, resize="stretch").warnings

    assert warnings(flip=0) == []
    (warning,) = warnings(flip=0.5)
    for words in told:
        assert words in warning
    assert warnings(flip=0.5, flip_swaps=[[label, label] for label in labels]) == []


def test_labels_without_directions_are_flipped_without_a_word() -> None:
    part = AugmentPart(flip=0.5)
    for labels in (["Drink", "Jump", "cleft lip", "bright room"], ["0", "1"], ["走る", "投げる"]):
        assert Augmentation(part, height_px=8, width_px=8, labels=labels, resize="stretch").warnings == []


def test_playing_backwards_is_warned_of() -> None:
    labels = [f"action {n}" for n in range(20)]
    part = AugmentPart.model_validate({"reverse": 0.5, "reverse_swaps": [["action 0", "action 1"]]})
    (warning,) = Augmentation(part, height_px=8, width_px=8, labels=labels, resize="stretch").warnings
    assert "action 2" in warning
    assert "and 10 more" in warning
    assert "action 1," not in warning


@pytest.mark.parametrize("resize", ["stretch", "center_crop"])
def test_crops_have_the_area_and_shape_asked_for(resize: Resize) -> None:
    size, shape = (32, 64), (240, 200)
    crop = augmentation(size, resize, crop_scale=[0.2, 0.4], crop_aspect=[0.8, 1.25])
    undistorted = shape[1] / shape[0] if resize == "stretch" else 2
    areas, aspects, lefts = [], [], []
    for seed in range(100):
        out = crop(places(*shape), 0, np.random.default_rng(seed))[0].astype(float)[0]
        # the outer pixels are averages over their own width, so the ends lie half a pixel further out
        wide = (out[0, -1, 0] - out[0, 0, 0]) * 64 / 63
        high = (out[-1, 0, 1] - out[0, 0, 1]) * 32 / 31
        areas.append(wide * high / (shape[0] * shape[1]))
        aspects.append(wide / high / undistorted)
        lefts.append(out[0, 0, 0])
    assert 0.18 < min(areas) < 0.24
    assert 0.36 < max(areas) < 0.42
    assert 0.75 < min(aspects) < 0.9
    assert 1.1 < max(aspects) < 1.35
    assert min(lefts) < 10
    assert max(lefts) > 40


def test_a_crop_that_never_fits_is_the_models_own() -> None:
    clip = footage(height=16, width=160)
    out = augmented(clip, resize="center_crop", crop_scale=[1, 1], crop_aspect=[1, 1])
    expected = [preprocess(f, height_px=32, width_px=32, resize="center_crop", color="rgb") for f in clip]
    assert np.array_equal(out, np.stack(expected))


def test_geometry_goes_the_way_it_says() -> None:
    clip = np.full((2, 33, 33, 3), 100, np.uint8)
    clip[:, 4:7, 15:18] = 250  # at 12 o'clock
    mean = round(clip.mean())
    turned = clip_ops.affine(clip, rotation_deg=90)
    assert (turned[:, 15:18, 26:29] == 250).all()  # at 3 o'clock
    moved = clip_ops.affine(clip, shift=(3 / 33, 6 / 33))
    assert (moved[:, 10:13, 18:21] == 250).all()
    assert (moved[:, :6] == mean).all()  # what comes in has the mean colour
    sheared = clip_ops.affine(clip, shear=(0.5, 0))
    assert (sheared[:, 5, 10] == 250).all()  # 11 above the middle: 5.5 to the left


def test_light_changes_as_it_says() -> None:
    clip = footage()
    assert np.array_equal(clip_ops.light(clip), clip)
    assert np.abs(clip_ops.light(clip, gamma=2) - (clip / 255) ** 2 * 255).max() < 0.5001
    assert np.abs(clip_ops.light(clip, brightness=1.5) - np.minimum(clip * 1.5, 255)).max() < 0.5001
    flat = clip_ops.light(clip, contrast=0.5)
    assert flat.mean() == pytest.approx(clip.mean(), abs=0.5)
    assert flat.std() == pytest.approx(clip.std() / 2, abs=0.5)
    dark = [augmented(clip, seed, gamma=[1.5, 2]).mean() for seed in range(10)]
    assert max(dark) < clip.mean() - 20


def test_colour_changes_as_it_says() -> None:
    clip = footage()
    assert np.array_equal(clip_ops.colour(clip), clip)
    luma = clip @ np.array([0.299, 0.587, 0.114])
    assert np.abs(clip_ops.colour(clip, saturation=0) - luma[..., None]).max() <= 0.6
    red = np.zeros((1, 4, 4, 3), np.uint8)
    red[..., 0] = 200
    assert (clip_ops.colour(red, hue=1 / 3) == [0, 200, 0]).all()
    grey = augmented(clip, grey=1, hue=0.5, saturation=1)
    assert (grey == grey[..., :1]).all()


def test_noise_is_another_in_every_frame_and_as_strong_as_it_says() -> None:
    grey = np.full((6, 64, 64, 3), 128, np.uint8)
    noisy = clip_ops.noise(grey, 8, np.random.default_rng(0)).astype(float) - 128
    assert noisy.mean() == pytest.approx(0, abs=0.2)
    assert noisy.std(axis=(1, 2, 3)) == pytest.approx(np.full(6, 8.0), abs=0.3)
    correlation = np.corrcoef(noisy.reshape(6, -1)) - np.eye(6)
    assert np.abs(correlation).max() < 0.05
    black = clip_ops.noise(grey * 0, 8, np.random.default_rng(0))
    assert black.max() < 60  # nothing wraps round


def test_erasing_fills_one_box_of_all_frames() -> None:
    clip = footage(3, 64, 64) // 4  # dark
    shares = []
    for seed in range(50):
        out = augmented(clip, seed, size=(64, 64), erase=1, erase_scale=[0.1, 0.2])
        changed = (out != clip).any(axis=-1)
        rows, columns = np.flatnonzero(changed[0].any(axis=1)), np.flatnonzero(changed[0].any(axis=0))
        box = np.zeros((64, 64), bool)
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        assert changed[:, box].mean() > 0.95
        assert abs(int(out[:, box].mean()) - clip.mean()) < 5  # no brighter than the clip
        assert not changed[:, ~box].any()
        shares.append(box.mean())
    assert 0.09 < min(shares) < 0.12
    assert 0.18 < max(shares) < 0.21


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__.strip("_"))
@pytest.mark.parametrize("clip", [footage(), footage() // 8, np.full((2, 9, 9, 3), 40, np.uint8)])
def test_rand_augment_operations_grow_with_the_magnitude(operation: Any, clip: NDArray[np.uint8]) -> None:
    name = operation.__name__.strip("_")
    for sign in (-1, 1):
        changes = []
        for strength in (0, 0.5, 1):
            out = operation(clip, strength, sign)
            assert out.shape == clip.shape
            assert out.dtype == np.uint8
            changes.append(float(np.abs(out.astype(int) - clip).mean()))
        if name in ("autocontrast", "equalise"):
            assert changes[0] == changes[2]
        else:
            assert changes[0] == 0
            if name != "solarise" and not name.startswith("translate"):  # these soon change as much as they can
                assert changes[0] <= changes[1] <= changes[2]
            textured = clip.std() > 0
            assert (changes[2] > 0) == (name != "identity") or not textured


def test_equalise_and_autocontrast_use_all_levels_of_a_dark_clip() -> None:
    dark = (np.linspace(0, 1, 32 * 32).reshape(1, 32, 32, 1) ** 2 * 40 + 5).astype(np.uint8).repeat(3, axis=-1)
    by_name = {operation.__name__: operation for operation in OPERATIONS}
    stretched, equal = by_name["_autocontrast"](dark, 1, 1), by_name["_equalise"](dark, 1, 1)
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert (equal.min(), equal.max()) == (0, 255)
    assert equal.mean() == pytest.approx(128, abs=25)


def test_rand_augment_does_as_much_as_it_says() -> None:
    clip = footage()
    assert rand_augment(clip, RandAugmentPart(), np.random.default_rng(0)) is clip
    never = RandAugmentPart(ops=9, probability=0)
    assert np.array_equal(rand_augment(clip, never, np.random.default_rng(0)), clip)

    def change(**values: Any) -> float:
        part = RandAugmentPart(**values)
        changed = [rand_augment(clip, part, np.random.default_rng(seed)).astype(int) - clip for seed in range(60)]
        return float(np.abs(changed).mean())

    assert change(ops=1, magnitude=2) < change(ops=1, magnitude=8) < change(ops=4, magnitude=8, probability=1)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"crop_scale": [0.9, 0.5]}, "smaller"),
        ({"crop_scale": [0, 1]}, "greater than 0"),
        ({"crop_scale": [0.5, 1.5]}, "less than or equal to 1"),
        ({"crop_scale": 0.5}, "tuple"),
        ({"flip": 1.2}, "less than or equal to 1"),
        ({"flip_swaps": [["a", "b", "c"]]}, "at most 2"),
        ({"flip_swaps": [["a", "b"], ["b", "c"]]}, "listed more than once: b"),
        ({"gamma": [0, 2]}, "greater than 0"),
        ({"noise": -1}, "greater than or equal to 0"),
        ({"hue": 0.7}, "less than or equal to 0.5"),
        ({"noise": float("nan")}, "finite"),
        ({"rand_augment": {"ops": 2, "magnitude": 11}}, "less than or equal to 10"),
        ({"flipp": 0.5}, "not permitted"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AugmentPart.model_validate(values)


@pytest.mark.parametrize(
    ("clip", "told"),
    [
        (np.zeros((8, 8, 3), np.uint8), r"not \(8, 8, 3\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"not \(0, 8, 8, 3\)"),
        (np.zeros((2, 8, 8, 1), np.uint8), r"not \(2, 8, 8, 1\)"),
        (np.zeros((2, 8, 8, 3), np.float32), "not float32"),
        ([1, 2], "not <class 'list'>"),
    ],
)
def test_what_is_no_clip_is_refused(clip: Any, told: str) -> None:
    with pytest.raises(FrameError, match=told):
        augmentation()(clip, 0, np.random.default_rng(0))


def test_what_stands_still_fades_and_what_moves_stays(rng: np.random.Generator) -> None:
    ground = rng.integers(40, 200, (1, 32, 32, 3)).astype(np.uint8)
    film = np.repeat(ground, 16, axis=0)
    for index in range(16):
        film[index, 4:10, index : index + 6] = 250
    faded = clip_ops.fade_background(film, 1.0)
    assert faded[:, 20:].std(axis=(0, 1, 2)).max() < 1 < film[:, 20:].std(axis=(0, 1, 2)).min()
    assert faded[8, 4:10, 8:14].mean() > faded[8, 20:].mean() + 60
    assert np.array_equal(clip_ops.fade_background(film, 0.0), film)
