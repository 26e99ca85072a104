"""A streaming MAR: it sees one time step after the other, and keeps keys and values instead of computing them again.

Weights have the names and shapes of the windowed model, so each can start from the other; only the position table differs:
it has no time, which is in the attention (see `band`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mar_edge.geometry import Geometry
from mar_edge.masking import PLACES, deployed_mask, running_places, visible_indices
from mar_edge.model.band import Band, band_mask, rotary_table
from mar_edge.model.mar import (
    MAR,
    BridgingClassifier,
    Encoder,
    JointOutput,
    PixelDecoder,
    patchify,
    pick,
    pixel_target,
)
from mar_edge.model.transformer import Attention
from mar_edge.model_spec import PERIOD

PASS_STEPS = 16
"""Most time steps of a pass without gradient: the mask of a long sequence as a whole would take gigabytes."""


class Pass(NamedTuple):
    """What a pass over consecutive time steps returns.

    Attributes:
        logits: (B, steps, classes); None for a model without classifier.
        tokens: encoder output (B, steps * N, D).
        kept: keys and values of the newest steps, one fewer than the band, in turn for every attention,
            (B, heads, kept * N, head width).
    """

    logits: Tensor | None
    tokens: Tensor
    kept: tuple[Tensor, ...]


class StreamingMAR(MAR):
    """MAR whose tokens see the time steps up to their own.

    Args:
        encoder: of single time steps.
        classifier: maps encoder tokens to logits; None for a pre-training model.
        decoder: of whole windows; None in a model for inference only.
        geometry: `frames` are those of the band.
    """

    def __init__(
        self, encoder: Encoder, classifier: nn.Module | None, decoder: PixelDecoder | None, geometry: Geometry
    ) -> None:
        super().__init__(encoder, classifier, decoder)
        self.geometry = geometry

    @property
    def band(self) -> int:
        """Time steps that a token sees, its own included."""
        return self.geometry.grid[0]

    @property
    def parts(self) -> list[Encoder | BridgingClassifier]:
        """The modules that run at every step: encoder and classifier."""
        return [part for part in (self.encoder, self.classifier) if isinstance(part, (Encoder, BridgingClassifier))]

    def forward(self, frames: Tensor, visible: Tensor) -> Tensor:
        """Classify clips from an empty state.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB, of one time step or more.
            visible: token indices, (steps * N,) or (B, steps * N), the same number of every time step.

        Returns:
            Logits (B, classes) after the last time step, float32.
        """
        return self.every_step(frames, visible)[:, -1]

    def every_step(self, frames: Tensor, visible: Tensor) -> Tensor:
        """Classify clips from an empty state; as `forward`, after every time step: logits (B, steps, classes)."""
        if self.classifier is None:
            raise ValueError("this model has no classifier: it was pre-trained only")
        places = self._places(visible.expand(len(frames), -1), frames)
        passes = self._passes(self._steps(frames), places, PASS_STEPS)
        return torch.cat([one.logits for one in passes if one.logits is not None], dim=1)

    def run(
        self,
        tubelets: Tensor,
        places: Tensor,
        *,
        past: Sequence[Tensor] = (),
        clock: int = 0,
        allowed: Tensor | None = None,
    ) -> Pass:
        """Run consecutive time steps in one pass.

        Args:
            tubelets: (B * steps, places, values), 0 to 255, any dtype.
            places: visible places of every step, (B, steps, N).
            past: `kept` of the pass before; empty for an empty state.
            clock: number of the first step.
            allowed: which tokens a token may see, see `band_mask`; None for all of the band.
        """
        _, steps, visible = places.shape
        kept = past[0].shape[2] // visible if past else 0
        if allowed is None:
            allowed = band_mask(steps, visible, self.band, kept).to(places.device)
        times = torch.arange(clock, clock + steps, device=places.device).repeat_interleave(visible) % PERIOD
        x: Tensor = tubelets
        fresh: list[Tensor] = []
        logits: Tensor | None = None
        for module in self.parts:
            cos, sin = (table.to(places.device)[times] for table in rotary_table(attentions(module)[0].head_width))
            shared = Band(steps, cos, sin, allowed, past[len(fresh) :])
            if isinstance(module, Encoder):
                x = module(x, places.flatten(0, 1), shared)
            else:
                logits = module(x, shared).reshape(len(places), steps, -1)
            fresh += shared.fresh
        whole = [torch.cat(pair, dim=2) for pair in zip(past, fresh, strict=True)] if past else fresh
        keep = (self.band - 1) * visible
        return Pass(logits, x, tuple(tensor[:, :, -keep:] for tensor in whole))

    def joint(
        self, frames: Tensor, visible: Tensor, masked: Tensor, *, skipped: Tensor | None = None, carry: bool = False
    ) -> JointOutput:
        """Classify after every step and reconstruct, window by window, from an empty state.

        Args:
            frames: uint8 (B, T, H, W, 3) RGB of whole windows.
            visible: visible token indices (B, steps * N), the same number of every time step.
            masked: hidden token indices (B, steps * M).
            skipped: bool (B, steps), steps that later ones do not see, as if they had not run; None for none.
            carry: run window by window, and carry the state over without gradient.
        """
        tubelets, places = self._steps(frames), self._places(visible, frames)
        _, steps, seen = places.shape
        allowed = band_mask(steps, seen, self.band).to(places.device)
        if skipped is not None:
            own = band_mask(steps, seen, 1).to(places.device)
            missing = skipped.repeat_interleave(seen, dim=1)[:, None, None]  # (B, 1, 1, steps * N)
            allowed = allowed & (~missing | own)
        passes = list(self._passes(tubelets, places, self.band if carry else steps, allowed))
        logits = [one.logits for one in passes if one.logits is not None]
        tokens = torch.cat([one.tokens for one in passes], dim=1)
        answers = torch.cat(logits, dim=1) if logits else None
        if self.decoder is None or masked.shape[1] == 0:
            return JointOutput(answers, None, None, tokens)
        sought = self.by_window(masked, steps)
        by_window = tokens.reshape(-1, self.band * seen, tokens.shape[2])
        pixels = self.decoder(by_window, self.by_window(visible, steps), sought)
        everything = tubelets.reshape(-1, self.geometry.tokens, tubelets.shape[2])
        return JointOutput(answers, pixels, pixel_target(pick(everything, sought).float()), tokens)

    def _passes(self, tubelets: Tensor, places: Tensor, length: int, allowed: Tensor | None = None) -> Iterator[Pass]:
        """Run time steps in passes of at most `length`, and carry the state over without gradient.

        Args:
            tubelets: as for `run`.
            places: as for `run`.
            length: time steps of a pass.
            allowed: as for `run`, (..., steps * N, steps * N) for all of them together.
        """
        clips, steps, seen = places.shape
        by_clip = tubelets.reshape(clips, steps, *tubelets.shape[1:])
        past: Sequence[Tensor] = ()
        for first in range(0, steps, length):
            end, kept = first + length, min(first, self.band - 1)
            part = (
                None if allowed is None else allowed[..., first * seen : end * seen, (first - kept) * seen : end * seen]
            )
            done = self.run(
                by_clip[:, first:end].flatten(0, 1), places[:, first:end], past=past, clock=first, allowed=part
            )
            past = [tensor.detach() for tensor in done.kept]
            yield done

    def by_window(self, tokens: Tensor, steps: int) -> Tensor:
        """Return token indices of clips (B, steps * N) as those of their windows, (B * windows, band * N)."""
        length = self.geometry.tokens
        return (tokens % length).reshape(len(tokens) * steps // self.band, -1)

    def _steps(self, frames: Tensor) -> Tensor:
        """Return the tubelets of every step, (B * steps, places, values)."""
        return patchify(frames, self.encoder.geometry)

    def _places(self, tokens: Tensor, frames: Tensor) -> Tensor:
        """Return the places (B, steps, N) of token indices (B, steps * N)."""
        steps = frames.shape[1] // self.geometry.tubelet_frames
        return (tokens % self.encoder.geometry.tokens).reshape(len(tokens), steps, -1)


class StepGraph(nn.Module):
    """The step of a streaming model for export: one time step in, logits and the fresh keys and values out.

    Args:
        model: a model with classifier.
        mask_ratio: share of hidden tokens, one of `masking.MASK_RATIOS`.

    Attributes:
        visible: tokens of a time step (N).
        slots: time steps that are kept, one less than the band.
        shapes: (heads, slots * N, head width) of every attention's keys and values.

    Raises:
        GeometryError: if the model's grid has no cells for the mask.
    """

    places: Tensor
    cos: Tensor
    sin: Tensor
    bridge_cos: Tensor
    bridge_sin: Tensor

    def __init__(self, model: StreamingMAR, mask_ratio: float) -> None:
        super().__init__()
        self.model = model
        places = torch.from_numpy(running_places(model.geometry.grid, mask_ratio))
        self.visible = places.shape[1]
        self.slots = model.geometry.grid[0] - 1
        self.register_buffer("places", places.repeat(PERIOD // PLACES, 1))
        all_of_them = [attention for part in model.parts for attention in attentions(part)]
        self.shapes = [(part.heads, self.slots * self.visible, part.head_width) for part in all_of_them]
        for name, part in (("", all_of_them[0]), ("bridge_", all_of_them[-1])):
            cos, sin = rotary_table(part.head_width)
            self.register_buffer(f"{name}cos", cos)
            self.register_buffer(f"{name}sin", sin)

    def example(self, *, batch: int) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes, of an empty state."""
        geometry = self.model.encoder.geometry
        return (
            torch.zeros(batch, *geometry.clip_shape, dtype=torch.uint8),
            torch.zeros(batch, dtype=torch.int64),
            torch.zeros(batch, 1, 1, (self.slots + 1) * self.visible),
            *(torch.zeros(batch, *shape) for shape in self.shapes for _ in range(2)),
        )

    def forward(self, frames: Tensor, step: Tensor, bias: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Run one time step.

        Args:
            frames: uint8 (B, tubelet frames, H, W, 3) RGB.
            step: int64 (B,), number of the step modulo `PERIOD`.
            bias: float32 (B, 1, 1, (slots + 1) * N), 0 for keys that are attended, a large negative number for those of empty
                slots and of steps before the band; the newest N are its own.
            past: keys and values, in turn for every attention, (B, heads, slots * N, head width).

        Returns:
            Logits (B, classes), and the step's own keys and values, in turn for every attention, (B, heads, N, head width).
        """
        model = self.model
        inner = 2 * len(model.encoder.blocks)
        encoder = Band(1, _at(step, self.cos), _at(step, self.sin), bias, past[:inner])
        bridge = Band(1, _at(step, self.bridge_cos), _at(step, self.bridge_sin), bias, past[inner:])
        places = self.places.index_select(0, step)
        tokens = model.encoder(patchify(frames, model.encoder.geometry), places, encoder)
        assert model.classifier is not None
        return (model.classifier(tokens, bridge), *encoder.fresh, *bridge.fresh)


def running_tokens(geometry: Geometry, mask_ratio: float, steps: int) -> Tensor:
    """Return the visible token indices (steps * N,) of consecutive time steps from phase 0."""
    return torch.from_numpy(visible_indices(deployed_mask((steps, *geometry.grid[1:]), mask_ratio)))


def attentions(part: Encoder | BridgingClassifier) -> list[Attention]:
    """Return the attentions of a module, in order."""
    return [inner for inner in part.modules() if isinstance(inner, Attention)]


def _at(step: Tensor, table: Tensor) -> Tensor:
    return table.index_select(0, step)[:, None, None]
