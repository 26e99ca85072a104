"""The streaming model: it never looks ahead, and its step says what one pass over everything says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mar_edge.errors import CheckpointError
from mar_edge.geometry import Geometry
from mar_edge.masking import cell_running_mask, masked_indices, running_places, visible_indices
from mar_edge.model.band import band_mask, rotary_table
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.streaming import StepGraph, StreamingMAR, running_tokens
from mar_edge.model_spec import PERIOD

CONFIG = ModelConfig(
    geometry=Geometry(frames=8, height_px=32, width_px=64),
    width=32, depth=2, heads=2, classes=5,
    bridge_width=24, bridge_depth=1, bridge_heads=3, decoder_width=16, decoder_depth=1, decoder_heads=2,
    temporal="causal", input_norm="step", positions="grid",
)  # fmt: skip
BAND = 4
STEPS = 12


@pytest.fixture(scope="module")
def model() -> StreamingMAR:
    torch.manual_seed(0)
    made = build(CONFIG).eval()
    assert isinstance(made, StreamingMAR)
    return made


@pytest.fixture(scope="module")
def frames() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 2 * STEPS, 32, 64, 3), generator=generator, dtype=torch.uint8)


def offline(model: StreamingMAR, frames: Tensor, mask: float = 0.5) -> Tensor:
    with torch.no_grad():
        return DeployedGraph(model, mask).every_step(frames)


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max())


def stepwise(
    model: StreamingMAR, frames: Tensor, mask: float = 0.5, first: int = 0, slots: list[int] | None = None
) -> Tensor:
    """Run the step graph, whose slots are overwritten in the order given."""
    graph = StepGraph(model, mask).eval()
    _, _, bias, *past = graph.example(batch=len(frames))
    n = graph.visible
    bias[..., : graph.slots * n] = -1e4
    order = slots or list(range(graph.slots))
    logits = []
    for step in range(frames.shape[1] // 2):
        clock = torch.full((len(frames),), (first + step) % PERIOD)
        with torch.no_grad():
            answer, *fresh = graph(frames[:, 2 * step : 2 * step + 2], clock, bias, *past)
        slot = slice(order[step % graph.slots] * n, (order[step % graph.slots] + 1) * n)
        for kept, new in zip(past, fresh, strict=True):
            kept[:, :, slot] = new
        bias[..., slot] = 0
        logits.append(answer)
    return torch.stack(logits, dim=1)


def test_later_frames_change_no_earlier_answer_and_steps_before_all_bands_no_later_one(
    model: StreamingMAR, frames: Tensor
) -> None:
    plain = offline(model, frames)
    for changed in range(STEPS):
        other = frames.clone()
        other[:, 2 * changed : 2 * changed + 2] = 255 - other[:, 2 * changed : 2 * changed + 2]
        differs = (offline(model, other) - plain).abs().amax(dim=(0, 2)) > 1e-6
        assert not differs[:changed].any()
        assert differs[changed]
        # three blocks, each of which looks three steps back
        assert not differs[changed + 3 * (BAND - 1) + 1 :].any()


@pytest.mark.parametrize("mask", [0.0, 0.25, 0.5, 0.75])
def test_step_by_step_equals_one_pass(model: StreamingMAR, frames: Tensor, mask: float) -> None:
    assert close(stepwise(model, frames, mask), offline(model, frames, mask))


@pytest.mark.parametrize("first", [4, PERIOD - 4, 5 * PERIOD])
def test_the_hour_does_not_matter_if_the_mask_is_the_same(model: StreamingMAR, frames: Tensor, first: int) -> None:
    assert close(stepwise(model, frames, first=first), offline(model, frames))


def test_slots_need_no_order(model: StreamingMAR, frames: Tensor) -> None:
    assert close(stepwise(model, frames, slots=[2, 0, 1]), offline(model, frames))


def test_the_step_that_began_with_another_phase_shows_other_places(model: StreamingMAR, frames: Tensor) -> None:
    assert not close(stepwise(model, frames, first=1), offline(model, frames))


def clip_tokens(steps: int, phase: int = 0) -> tuple[Tensor, Tensor]:
    mask = cell_running_mask((steps, 2, 4), 0.5, phase)
    return (torch.from_numpy(part(mask)).expand(2, -1) for part in (visible_indices, masked_indices))  # type: ignore[return-value]


def test_training_says_what_the_deployed_model_says(model: StreamingMAR, frames: Tensor) -> None:
    visible, masked = clip_tokens(STEPS)
    with torch.no_grad():
        output = model.joint(frames, visible, masked)
    assert output.logits is not None
    assert close(output.logits, offline(model, frames))
    assert output.pixels is not None
    assert output.target is not None
    assert output.pixels.shape == output.target.shape == (2 * STEPS // BAND, BAND * 4, 2 * 16 * 16 * 3)


def test_the_target_of_a_hidden_tubelet_is_its_own_picture(model: StreamingMAR, frames: Tensor) -> None:
    visible, masked = clip_tokens(STEPS)
    with torch.no_grad():
        before = model.joint(frames, visible, masked).target
        other = frames.clone()
        step, place = divmod(int(masked[0, -1]), 8)  # the last hidden tubelet: the last of the last window
        row, column = divmod(place, 4)
        part = other[0, 2 * step : 2 * step + 2, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        part[:] = 255 - part
        after = model.joint(other, visible, masked).target
    assert before is not None
    assert after is not None
    changed = (before != after).any(dim=-1).nonzero()
    assert changed.tolist() == [[STEPS // BAND - 1, BAND * 4 - 1]]


def test_a_state_that_is_carried_over_says_the_same_without_gradient(model: StreamingMAR, frames: Tensor) -> None:
    visible, masked = clip_tokens(STEPS)
    part = frames.float().clamp(min=1).requires_grad_()  # the square root has no slope at 0
    whole = model.joint(part, visible, masked[:, :0]).logits
    carried = model.joint(part, visible, masked[:, :0], carry=True).logits
    assert whole is not None
    assert carried is not None
    assert close(carried, whole)
    for logits, reaches in ((whole, True), (carried, False)):
        (gradient,) = torch.autograd.grad(logits[:, BAND].sum(), part, retain_graph=True)
        assert bool(gradient[:, 2 * BAND : 2 * BAND + 2].any())
        assert bool(gradient[:, : 2 * BAND].any()) == reaches


@pytest.mark.parametrize("carry", [False, True])
def test_skipped_steps_are_as_if_they_had_not_run(model: StreamingMAR, frames: Tensor, carry: bool) -> None:
    visible, masked = clip_tokens(STEPS)
    skipped = torch.zeros(2, STEPS, dtype=torch.bool)
    skipped[:, [2, 5, 6]] = True
    other = frames.clone()
    for step in (2, 5, 6):
        other[:, 2 * step : 2 * step + 2] = 0
    with torch.no_grad():
        one, two = (
            model.joint(part, visible, masked[:, :0], skipped=skipped, carry=carry).logits for part in (frames, other)
        )
    assert one is not None
    assert two is not None
    ran = ~skipped[0]
    assert torch.equal(one[:, ran], two[:, ran])
    assert not torch.equal(one[:, ~ran], two[:, ~ran])


def test_the_band_is_as_wide_as_it_says() -> None:
    mask = band_mask(steps=6, tokens=2, band=3, kept=2)
    assert mask.shape == (12, 16)
    for query in range(6):
        seen = mask[2 * query].reshape(8, 2).all(dim=1).nonzero().flatten().tolist()
        assert seen == [key for key in range(8) if 0 <= query + 2 - key < 3]


def test_every_channel_comes_round_with_the_clock() -> None:
    cos, sin = rotary_table(64)
    assert cos.shape == sin.shape == (PERIOD, 16)
    # one step further is the same turn for every step, across the wrap
    turn = torch.complex(cos, sin)
    assert torch.allclose(torch.roll(turn, -1, dims=0) / turn, turn[1].expand_as(turn), atol=1e-6)


def test_running_places_are_those_of_the_mask() -> None:
    for ratio in (0.0, 0.25, 0.5, 0.75):
        places = running_places((4, 2, 4), ratio)
        mask = cell_running_mask((8, 2, 4), ratio)
        for step in range(8):
            assert np.array_equal(np.flatnonzero(mask[step]), places[step % 4])
        assert np.array_equal(running_tokens(CONFIG.geometry, ratio, 8).numpy(), visible_indices(mask))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classifier": "mean_pool"}, "classifier 'mean_pool' cannot stream"),
        ({"input_norm": "clip"}, "input_norm 'clip' looks at later frames"),
        ({"temporal": "window", "input_norm": "step"}, "input_norm 'step' is for temporal 'causal'"),
    ],
)
def test_architectures_that_cannot_be(changes: dict[str, str], says: str) -> None:
    values = replace(CONFIG, **changes).to_dict()  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=says):
        ModelConfig.from_dict(values)
