"""Augmentation of training clips: geometry, light, noise, erasing; the same for all frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from mar_edge.errors import FrameError
from mar_edge.files.yaml_part import Part, Probability, Share
from mar_edge.runtime.clips.preprocess import Resize, preprocess
from mar_edge.training.augmentation import clip_ops
from mar_edge.training.augmentation.clip_ops import Clip
from mar_edge.training.augmentation.label_swaps import Swaps, backwards_warning, mirror_warning, swap_table
from mar_edge.training.augmentation.rand_augment import RandAugmentPart, rand_augment

_TRIES = 10


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first value must be the smaller one")
    return pair


_Positive = Annotated[float, Field(gt=0)]
_PartOfOne = Annotated[float, Field(gt=0, le=1)]
Between = Annotated[tuple[_Positive, _Positive], AfterValidator(_rising)]
"""From, to; both above 0."""
PartBetween = Annotated[tuple[_PartOfOne, _PartOfOne], AfterValidator(_rising)]
"""From, to; both above 0 and at most 1."""


class AugmentPart(Part):
    """Augmentations of a training clip; all are off by default.

    They are applied in the order of the keys.

    Attributes:
        reverse: probability of playing the clip backwards.
        reverse_swaps: labels that are swapped then, such as `[[Sit, Stand]]`; `[[Wave, Wave]]` keeps Wave.
        crop_scale: random resized crop: share of the picture's area, from, to; typical are [0.08, 1] for large sets and
            [0.5, 1] for small ones. Without it, pictures are resized as at run time.
        crop_aspect: width over height of that crop, from, to, where 1 is what the model sees at run time.
        flip: probability of mirroring left and right.
        flip_swaps: labels that are swapped then, such as `[[pan_left, pan_right]]`.
        rotation_deg: largest rotation to either side. New borders have the clip's mean colour.
        shear: largest shear along x and along y, pixels per pixel.
        shift: largest shift along x and along y, share of the picture.
        rand_augment: RandAugment, see `RandAugmentPart`.
        fade_background: probability of removing the static part of a clip, its median over time, by 30 to 100 %: the
            model then cannot memorise places.
        saturation: largest change of the factor 1 on the distance of colours from grey, such as 0.4 for 0.6 to 1.4.
        hue: largest rotation of the colours to either side, share of the circle, up to 0.5.
        grey: probability of removing all colour.
        gamma: power of the pixels' values, from, to, drawn evenly on a log scale; above 1 is darker. [0.5, 2] for
            footage with very different light.
        brightness: largest change of the factor 1 on the values. Under `model.input_norm: clip`, which normalises it
            again, gamma has more effect.
        contrast: largest change of the factor 1 on the distance of the values from the clip's mean.
        blur: probability of a Gaussian blur.
        blur_px: its standard deviation in pixels, from, to.
        noise: largest standard deviation, in grey levels of 255, of Gaussian noise, drawn again for every frame.
        erase: probability of random erasing: one box over all frames, filled with random pixels of
            the clip's own brightness and contrast.
        erase_scale: share of the picture that it covers, from, to.
    """

    reverse: Probability = 0.0
    reverse_swaps: Swaps = ()
    crop_scale: PartBetween | None = None
    crop_aspect: Between = (0.75, 4 / 3)
    flip: Probability = 0.0
    flip_swaps: Swaps = ()
    rotation_deg: float = Field(default=0.0, ge=0, le=180)
    shear: float = Field(default=0.0, ge=0, le=1)
    shift: float = Field(default=0.0, ge=0, le=1)
    rand_augment: RandAugmentPart = RandAugmentPart()
    fade_background: Probability = 0.0
    saturation: Share = 0.0
    hue: float = Field(default=0.0, ge=0, le=0.5)
    grey: Probability = 0.0
    gamma: Between = (1.0, 1.0)
    brightness: Share = 0.0
    contrast: Share = 0.0
    blur: Probability = 0.0
    blur_px: Between = (0.1, 2.0)
    noise: Share = 0.0
    erase: Probability = 0.0
    erase_scale: PartBetween = (0.02, 1 / 3)


class Augmentation:
    """Brings clips to the model's size and augments them.

    With everything off it does the same as `runtime.clips.preprocess` for each frame, and draws no random numbers.

    Args:
        part: the settings.
        height_px: of the model.
        width_px: of the model.
        labels: all labels in order.
        resize: the model's resize rule.

    Attributes:
        warnings: sentences to report before training.

    Raises:
        RecipeError: if a swap names an unknown label.
    """

    def __init__(
        self, part: AugmentPart, *, height_px: int, width_px: int, labels: Sequence[str], resize: Resize
    ) -> None:
        self._part = part
        self._height_px, self._width_px = height_px, width_px
        self._resize: Resize = resize
        self._flipped = swap_table("augment.flip_swaps", part.flip_swaps, labels)
        self._reversed = swap_table("augment.reverse_swaps", part.reverse_swaps, labels)
        doubts = [
            mirror_warning(part.flip_swaps, labels) if part.flip else None,
            backwards_warning(part.reverse_swaps, labels) if part.reverse else None,
        ]
        self.warnings = [doubt for doubt in doubts if doubt]

    def __call__(self, clip: Clip, label: int, rng: np.random.Generator) -> tuple[Clip, int]:
        """Augment a clip.

        Args:
            clip: uint8 RGB (T, h, w, 3); not changed.
            label: class index; one that is in no swap is returned unchanged.
            rng: source of all random numbers.

        Returns:
            A new clip (T, height, width, 3), and the class index of what it now shows.

        Raises:
            FrameError: if it is not a clip.
        """
        if not isinstance(clip, np.ndarray) or clip.ndim != 4 or clip.shape[3] != 3 or 0 in clip.shape:
            raise FrameError(f"a clip must be an array of shape (T, H, W, 3), not {getattr(clip, 'shape', type(clip))}")
        if clip.dtype != np.uint8:
            raise FrameError(f"a clip must have dtype uint8 with values 0 to 255, not {clip.dtype}")
        clip, part = np.asarray(clip), self._part  # a plain array of a memory-mapped one
        if part.reverse and rng.random() < part.reverse:
            clip, label = clip[::-1], self._reversed.get(label, label)
        clip = self._cropped(clip, rng)
        if part.flip and rng.random() < part.flip:
            clip, label = clip_ops.mirror(clip), self._flipped.get(label, label)
        clip = _moved(clip, part, rng)
        clip = rand_augment(clip, part.rand_augment, rng)
        if part.fade_background and rng.random() < part.fade_background:
            clip = clip_ops.fade_background(clip, float(rng.uniform(0.3, 1)))
        clip = _lit(clip, part, rng)
        if part.blur and rng.random() < part.blur:
            clip = clip_ops.blur(clip, float(rng.uniform(*part.blur_px)))
        if part.noise:
            clip = clip_ops.noise(clip, float(rng.uniform(0, part.noise)), rng)
        if part.erase and rng.random() < part.erase:
            box = _box(clip.shape[1], clip.shape[2], part.erase_scale, (0.3, 1 / 0.3), rng)
            clip = clip_ops.erase(clip, box, rng) if box else clip
        return clip, label

    def plain(self, clip: Clip) -> Clip:
        """Bring a clip to the model's size without augmentation, as `runtime.clips.preprocess` does.

        Args:
            clip: uint8 RGB (T, h, w, 3).

        Returns:
            A new clip (T, height, width, 3).
        """
        return self._resized(clip, self._resize)

    def _cropped(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Bring a clip to the model's size, by a random crop if that is on."""
        if self._part.crop_scale is None:
            return self.plain(clip)
        height, width = clip.shape[1:3]
        undistorted = width / height if self._resize == "stretch" else self._width_px / self._height_px
        low, high = self._part.crop_aspect
        box = _box(height, width, self._part.crop_scale, (low * undistorted, high * undistorted), rng)
        if box is None:
            return self.plain(clip)
        top, left, high_px, wide_px = box
        return self._resized(clip[:, top : top + high_px, left : left + wide_px], "stretch")

    def _resized(self, clip: Clip, resize: Resize) -> Clip:
        height_px, width_px = self._height_px, self._width_px
        return np.stack(
            [preprocess(frame, height_px=height_px, width_px=width_px, resize=resize, color="rgb") for frame in clip]
        )


def _moved(clip: Clip, part: AugmentPart, rng: np.random.Generator) -> Clip:
    if not (part.rotation_deg or part.shear or part.shift):
        return clip
    turn, shear_x, shear_y, shift_x, shift_y = rng.uniform(-1, 1, 5).tolist()
    return clip_ops.affine(
        clip,
        rotation_deg=turn * part.rotation_deg,
        shear=(shear_x * part.shear, shear_y * part.shear),
        shift=(shift_x * part.shift, shift_y * part.shift),
    )


def _lit(clip: Clip, part: AugmentPart, rng: np.random.Generator) -> Clip:
    grey = part.grey > 0 and rng.random() < part.grey
    if part.saturation or part.hue or grey:
        saturation = 0.0 if grey else _factor(part.saturation, rng)
        clip = clip_ops.colour(clip, saturation=saturation, hue=float(rng.uniform(-part.hue, part.hue)))
    if part.gamma != (1.0, 1.0) or part.brightness or part.contrast:
        gamma = float(np.exp(rng.uniform(*np.log(part.gamma))))
        brightness, contrast = _factor(part.brightness, rng), _factor(part.contrast, rng)
        clip = clip_ops.light(clip, gamma=gamma, brightness=brightness, contrast=contrast)
    return clip


def _factor(change: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(max(0.0, 1 - change), 1 + change))


def _box(
    height: int, width: int, scale: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """Draw a box (top, left, height, width): area evenly, aspect on a log scale; None if none of ten fits."""
    for _ in range(_TRIES):
        area = height * width * float(rng.uniform(*scale))
        ratio = float(np.exp(rng.uniform(*np.log(aspect))))
        high, wide = max(1, round((area / ratio) ** 0.5)), max(1, round((area * ratio) ** 0.5))
        if high <= height and wide <= width:
            return int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1)), high, wide
    return None
