"""Films of no content, from a module that a filming process loads quickly."""

from __future__ import annotations

from typing import Any

import numpy as np

from mar_edge.training.synthetic.symmetry import Film


class GreyStudio:
    """Films still clips, grey by their seed."""

    def film(self, count: int, seed: int) -> Any:
        return (
            Film(np.full((2, 8, 8, 3), seed % 250, np.uint8), np.zeros(2, np.int64), np.zeros(0, np.float32))
            for _ in range(count)
        )
