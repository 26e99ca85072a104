"""Attention that never looks ahead: a band over the time steps, with rotary time.

The tokens of time step t see those of the steps t - (band - 1) to t. What was computed for a step stays true for ever, so a
stream keeps keys and values and pays for its newest step only.

Time lives in attention alone, as rotary embedding (Su et al., arXiv 2104.09864) of half of a head's channels with whole
numbers of turns in `PERIOD` steps: the clock is the step number modulo `PERIOD`, tables are finite, and nothing drifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mar_edge.model_spec import PERIOD

FASTEST = PERIOD // 4
"""Turns of the fastest channel in `PERIOD` steps: a quarter turn a step."""

TURNED_OF = 4
"""Channels of a head for each pair that turns with time; a smaller head would know no time."""


class Band:
    """What the attentions of one pass share: the time of the tokens, what they may see, and what is kept.

    Args:
        steps: time steps of the pass.
        cos, sin: of the tokens' times, from `rotary_table`; (1 or B, 1, 1 or tokens, turns).
        allowed: which keys, those that are kept first, each token may see: bool, or float32 to be added to the scores;
            it can be broadcast to (B, heads, tokens, kept + tokens).
        past: keys and values of earlier steps, in turn for every attention, (B, heads, kept, head width) each; empty for
            none.

    Attributes:
        steps, allowed: as given.
        fresh: keys and values of this pass, in turn for every attention so far, (B, heads, tokens, head width).
    """

    def __init__(self, steps: int, cos: Tensor, sin: Tensor, allowed: Tensor, past: Sequence[Tensor] = ()) -> None:
        self.steps, self.allowed = steps, allowed
        self.fresh: list[Tensor] = []
        self._cos, self._sin, self._past = cos, sin, past

    def extend(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn queries and keys (B, heads, tokens, head width) by their time, and put what is kept before keys and values."""
        query, key = self._turn(query), self._turn(key)
        layer = len(self.fresh)
        self.fresh += [key, value]
        if self._past:
            key = torch.cat([self._past[layer], key], dim=2)
            value = torch.cat([self._past[layer + 1], value], dim=2)
        return query, key, value

    def _turn(self, x: Tensor) -> Tensor:
        turns = self._cos.shape[-1]
        a, b, rest = torch.split(x, [turns, turns, x.shape[-1] - 2 * turns], dim=-1)
        return torch.cat([a * self._cos - b * self._sin, a * self._sin + b * self._cos, rest], dim=-1)


def rotary_table(head_width: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (PERIOD, head_width // TURNED_OF), float32, of every time of the clock.

    Channel k makes a whole number of turns in `PERIOD` steps, from 1 to `FASTEST`, evenly spread.
    """
    count = head_width // TURNED_OF
    turns = torch.linspace(1, FASTEST, count, dtype=torch.float64).round()
    angle = torch.arange(PERIOD, dtype=torch.float64)[:, None] * turns * (2 * math.pi / PERIOD)
    return angle.cos().float(), angle.sin().float()


def band_mask(steps: int, tokens: int, band: int, kept: int = 0) -> Tensor:
    """Return which keys each token of consecutive steps may see.

    Args:
        steps: time steps of the pass.
        tokens: of each step.
        band: how many steps a token sees, its own included.
        kept: steps before, whose keys come first.

    Returns:
        bool (steps * tokens, (kept + steps) * tokens).
    """
    distance = torch.arange(kept, kept + steps)[:, None] - torch.arange(kept + steps)
    seen = (distance >= 0) & (distance < band)
    return seen.repeat_interleave(tokens, dim=0).repeat_interleave(tokens, dim=1)
