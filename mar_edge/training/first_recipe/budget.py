"""Decides how large the model's pictures are and how many steps there are, so that all of it fits into some minutes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mar_edge.bundle import builtin_names, open_bundle
from mar_edge.counting import counted
from mar_edge.datasets.workers import cores
from mar_edge.manifest import Manifest
from mar_edge.training.batches import default_workers
from mar_edge.training.first_recipe.costs import Costs
from mar_edge.training.needs.speed import SPREAD
from mar_edge.training.recipe import STEP_CLIPS

MEASURED_PX = 96
"""Size at which costs are measured; those of making clips and of steps grow with its square."""

SIZES_PX = {128: 400, 96: 120, 64: 0}
"""Sizes, and the steps without which a size is not worth it."""

FEWEST_STEPS = 60
"""With fewer steps fine-tuning does nothing but harm."""

MOST_STEPS = 3000

PASSES = 120
"""How often each clip is seen at most, augmented another way each time. More learns it by heart."""

LOOKS = 10
"""How often the model is validated."""

VIEWS = 3
"""Windows of a clip that validation averages over."""

FIGURES = 10_000
DRAWN_SHARE = 0.75
"""Drawn figures, and their share of the training clips, as in training/arid.yaml."""

FIGURES_SHARE = 0.15
"""Share of the time for drawing."""

MOST_CORES = 8
"""Models of this size do not get faster with more cores."""

FORWARD = 1 / 3
"""Share of a step that an answer takes."""

POOL_S = 2.0
"""Seconds in which the processes that decode start; they do so once for each size of pictures and each list."""

START_S = 20.0
"""Seconds of the two commands' start, and of the estimate of memory."""

EXPORT_S = 25.0
"""Seconds of one core in which a model of MEASURED_PX is exported to INT8: 21 were measured on an EPYC."""

EXPORT_BYTES = 700_000_000
"""Memory of the export, the libraries included: 640 MB were measured."""

IN_RESERVE = 0.9
"""Share of the minutes that is planned."""


@dataclass(frozen=True)
class Clips:
    """What there is to work on.

    Attributes:
        train, val: number of clips.
        total_s: length of all of them, seconds.
    """

    train: int
    val: int
    total_s: float


@dataclass(frozen=True)
class Budget:
    """What fits into the minutes.

    Attributes:
        size_px: side of the pictures.
        steps: of the training.
        figures: drawn figures; 0 for none.
        step_s: seconds of a step.
        spent_s: seconds by what they are spent on.
        limit: why there are not more steps.
        minutes_needed: minutes for enough steps, where they are too few; None where they are enough.
    """

    size_px: int
    steps: int
    figures: int
    step_s: float
    spent_s: Mapping[str, float]
    limit: str
    minutes_needed: int | None


def plan_budget(
    costs: Costs, clips: Clips, minutes: float, device: torch.device, *, draws: bool, largest_px: int = max(SIZES_PX)
) -> Budget:
    """Plan a training.

    Args:
        costs: measured at `MEASURED_PX`.
        clips: what there is to work on.
        minutes: for training and export.
        device: of the model.
        draws: whether figures are drawn.
        largest_px: of the sizes.
    """
    found: Budget | None = None
    probed = [open_bundle(name).manifest for name in builtin_names()]
    for size_px, wanted in ((px, steps) for px, steps in SIZES_PX.items() if px <= largest_px):
        found = _at_size(costs, clips, minutes, device, size_px, probed, draws=draws)
        if found.steps >= wanted or (found.limit != _TIME and size_px <= MEASURED_PX):
            return found
    assert found is not None
    return found


_TIME = "as many as fit into the minutes"


def _at_size(
    costs: Costs,
    clips: Clips,
    minutes: float,
    device: torch.device,
    size_px: int,
    probed: Sequence[Manifest],
    *,
    draws: bool,
) -> Budget:
    used, area = min(cores(), MOST_CORES), (size_px / MEASURED_PX) ** 2
    load_s, model_s = STEP_CLIPS * costs.load_s * area, STEP_CLIPS * costs.pass_s * area + costs.update_s
    loading_s = load_s / default_workers(1)
    if device.type == "cpu":
        step_s = max(loading_s, (load_s + model_s) / max(1.0, SPREAD * used))
        answer_s = costs.pass_s * area * FORWARD / max(1.0, SPREAD * used)
    else:
        step_s, answer_s = max(loading_s, model_s), costs.pass_s * area * FORWARD
    total_s = 60 * minutes * IN_RESERVE
    every = clips.train + clips.val
    sizes = 2 + len({(model.resize, model.geometry.height_px, model.geometry.width_px) for model in probed})
    figures = int(min(FIGURES, FIGURES_SHARE * total_s * used / max(costs.draw_s * area, 1e-9))) if draws else 0
    spent_s = {
        "start and export": START_S + EXPORT_S * area / used,
        "decoding": sizes * (costs.decode_s * clips.total_s / used + 2 * POOL_S),
        "baselines": every * (costs.flow_s + len(probed) * VIEWS * answer_s),
        "drawn figures": figures * costs.draw_s * area / used,
        "validation": (LOOKS + 1) * clips.val * VIEWS * answer_s,
    }
    busy = {name: seconds * costs.busy for name, seconds in spent_s.items() if seconds}
    step_s *= costs.busy
    fitting = int((total_s - sum(busy.values())) / step_s)
    seen = math.ceil(PASSES * clips.train / (STEP_CLIPS * ((1 - DRAWN_SHARE) if figures else 1)))
    enough = max(FEWEST_STEPS, min(MOST_STEPS, seen))
    steps = max(FEWEST_STEPS // 3, min(fitting, enough))
    limit = (
        _TIME
        if fitting <= enough
        else f"with more, each clip would be seen over {counted(PASSES, 'time')} and learnt by heart"
    )
    if enough == MOST_STEPS:
        limit = limit if limit == _TIME else "more bring little here"
    missing = None
    if fitting < FEWEST_STEPS:
        wanted = min(enough, 2 * FEWEST_STEPS)
        missing = math.ceil((sum(busy.values()) + wanted * step_s) / 60 / IN_RESERVE)
    return Budget(size_px, steps, figures, step_s, {**busy, "steps": steps * step_s}, limit, missing)
