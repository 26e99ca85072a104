"""Computes the token grid from frames and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mar_edge.errors import GeometryError

CELL = 2
"""Side of a mask cell in tokens."""

Grid = tuple[int, int, int]
"""Tokens of a clip as (t, h, w)."""

LARGEST = {"frames": 1024, "height_px": 4096, "width_px": 4096, "tubelet_frames": 64, "patch_px": 256}
"""Largest values of a clip's sides; a file that states more is damaged or hostile."""

MAX_TOKENS = 131_072
"""Most tokens of a clip: their position table alone takes 0.5 GB at the width of ViT-L."""

MAX_VALUES = 1 << 28
"""Most bytes of a clip as uint8, 268 MB: 85 frames of 1024 x 1024 pixels."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Size of a clip and of its tubelets.

    Attributes:
        frames: frames in a clip (T).
        height_px: frame height in pixels.
        width_px: frame width in pixels.
        tubelet_frames: frames in a tubelet.
        patch_px: side of a tubelet in pixels.

    Raises:
        GeometryError: if a value is not an integer from 1 to its value in `LARGEST`, the clip is not divisible into tubelets,
            or it has more than `MAX_TOKENS` tokens or `MAX_VALUES` values.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    frames: int = 16
    height_px: int = 224
    width_px: int = 224
    tubelet_frames: int = 2
    patch_px: int = 16

    def __post_init__(self) -> None:
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= largest:
                raise GeometryError(f"{name} is {str(value)[:40]}; it must be an integer from 1 to {largest}")
        if self.frames % self.tubelet_frames:
            raise GeometryError(
                f"{self.frames} frames are not divisible into tubelets of {self.tubelet_frames} frames; "
                f"use a multiple of {self.tubelet_frames}"
            )
        for name in ("height_px", "width_px"):
            if getattr(self, name) % self.patch_px:
                raise GeometryError(
                    f"{name} is {getattr(self, name)}, which is not divisible into patches of {self.patch_px} px; "
                    f"nearest valid sizes: {_near(getattr(self, name), self.patch_px)}"
                )
        if self.tokens > MAX_TOKENS or 3 * self.frames * self.height_px * self.width_px > MAX_VALUES:
            raise GeometryError(
                f"a clip of {self.frames} frames of {self.height_px}x{self.width_px} px in patches of {self.patch_px} px has "
                f"{self.tokens} tokens and {3 * self.frames * self.height_px * self.width_px} values; the most are {MAX_TOKENS} "
                f"and {MAX_VALUES}"
            )

    @property
    def grid(self) -> Grid:
        """Token grid (t, h, w)."""
        return (
            self.frames // self.tubelet_frames,
            self.height_px // self.patch_px,
            self.width_px // self.patch_px,
        )

    @property
    def tokens(self) -> int:
        """Tokens of a complete clip."""
        t, h, w = self.grid
        return t * h * w

    @property
    def tubelet_values(self) -> int:
        """Numbers in one tubelet: frames x rows x columns x 3 channels."""
        return self.tubelet_frames * self.patch_px**2 * 3

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Shape (T, H, W, 3) of one clip."""
        return (self.frames, self.height_px, self.width_px, 3)

    def check_cells(self) -> None:
        """Check that the grid is divisible into mask cells.

        Raises:
            GeometryError: if it is not; the message names valid sizes.
        """
        for name, tokens in zip(("height_px", "width_px"), self.grid[1:], strict=True):
            if tokens % CELL:
                raise GeometryError(
                    f"{name} {getattr(self, name)} gives {tokens} tokens of {self.patch_px} px, which are not divisible into "
                    f"{CELL}x{CELL} mask cells; nearest valid sizes: "
                    f"{_near(getattr(self, name), CELL * self.patch_px)}"
                )


def _near(size_px: int, step_px: int) -> str:
    below = size_px // step_px * step_px
    return " or ".join(f"{size} px" for size in (below, below + step_px) if size > 0)
