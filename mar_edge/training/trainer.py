"""The training loop: joint objective, optimiser steps, checkpoints that a later start goes on from."""

from __future__ import annotations

import os
import pickle
import platform
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

import mar_edge
from mar_edge.errors import CheckpointError, OutputError
from mar_edge.masking import cell_running_mask, masked_indices, training_mask, visible_indices
from mar_edge.model import checkpoint
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.mar import MAR, joint_loss, pick
from mar_edge.runtime.camera_path import LABELS
from mar_edge.training import camera_moves
from mar_edge.training.camera_moves import CameraMoves
from mar_edge.training.patch_init import init_patch_embedding
from mar_edge.training.recipe import OptimiserPart, Recipe

LAST = "last.safetensors"
STATE = "last.state.pt"

FLOW_SCALE = 0.004
"""Flow, in picture widths a tubelet, about which its target turns from linear to logarithmic."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training run left behind.

    Attributes:
        checkpoint: path of the newest checkpoint.
        step: steps done so far.
        finished: whether the recipe's steps are all done.
        accuracy: share of right training clips over the last 100 steps.
    """

    checkpoint: Path
    step: int
    finished: bool
    accuracy: float


def train(recipe: Recipe, console: Console) -> TrainingResult:
    """Train as the recipe says; go on where an earlier run in the same folder stopped.

    Clips, masks and symmetries of a step depend on the seed and the step alone, so a resumed run sees what an
    uninterrupted one would have seen.

    Raises:
        RecipeError: if the data is not there.
        OutputError: if checkpoints cannot be written.
        CheckpointError: if the folder holds a run of another recipe.
    """
    if recipe.trainer.threads:
        torch.set_num_threads(recipe.trainer.threads)
    out = recipe.trainer.out
    with _bar(console) as bar:
        filming = bar.add_task("clips", total=None, note="")
        data = camera_moves.prepare(
            recipe.data,
            geometry=recipe.model.config(classes=1).geometry,
            seed=recipe.seed,
            progress=lambda done, total: bar.update(filming, completed=done, total=total),
        )
        bar.update(filming, completed=1, total=1)
        run = _Run(recipe, data)
        run.resume(out)
        task = bar.add_task("training", total=recipe.trainer.steps, completed=run.step, note="")
        stop_at = None if recipe.trainer.max_minutes is None else time.monotonic() + 60 * recipe.trainer.max_minutes
        recent: deque[float] = deque(maxlen=100)
        saved = run.step
        try:
            while run.step < recipe.trainer.steps and (stop_at is None or time.monotonic() < stop_at):
                loss, accuracy = run.one_step()
                recent.append(accuracy)
                note = f"loss {loss:.3f}  top-1 {np.mean(recent):.3f}"
                bar.update(task, completed=run.step, note=note)
                if not console.is_terminal and run.step % 100 == 0:
                    console.print(f"step {run.step}/{recipe.trainer.steps}  {note}")
                if run.step % recipe.trainer.checkpoint_steps == 0:
                    run.save(out)
                    saved = run.step
        finally:
            run.close()
            if run.step != saved:
                run.save(out)
    accuracy = float(np.mean(recent)) if recent else float("nan")
    return TrainingResult(out / LAST, run.step, run.step >= recipe.trainer.steps, accuracy)


class _Batch(NamedTuple):
    """Clips (B, T, H, W, 3) uint8, classes (B,), flows (B, tokens, 2), visible (B, N), hidden (B, M) token indices."""

    clips: Tensor
    classes: Tensor
    flows: Tensor
    visible: Tensor
    masked: Tensor


class _Run:
    """Model, optimiser and step of one training run."""

    def __init__(self, recipe: Recipe, data: CameraMoves) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.data = data
        self.step = 0
        self.config: ModelConfig = recipe.model.config(classes=len(LABELS))
        self.model: MAR = build(self.config)
        if recipe.patch_init:
            films = data.sample(min(512, len(data)), np.random.default_rng([recipe.seed, 0]))
            clips = np.stack([film.clip for film in films])
            grid, mask = self.config.geometry.grid, recipe.mask
            drawn = training_mask(grid, mask.ratio, np.random.default_rng([recipe.seed, 0]), mask.kind)
            shown = visible_indices(cell_running_mask(grid, mask.ratio) if mask.kind == "cell_running" else drawn)
            init_patch_embedding(self.model.encoder, torch.from_numpy(clips), torch.from_numpy(shown))
        self.flow_head = nn.Linear(self.config.width, 2)
        self.optimisers = _optimisers(nn.ModuleList([self.model, self.flow_head]), recipe.optimiser)
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="mar-edge batches")
        self._next: Future[_Batch] | None = None
        self._peak_lr = [[group["lr"] for group in optimiser.param_groups] for optimiser in self.optimisers]

    def one_step(self) -> tuple[float, float]:
        """Do one optimiser step; return the loss and the share of right clips."""
        recipe = self.recipe
        batch = (self._next or self._ahead.submit(self._batch, self.step)).result()
        self._next = self._ahead.submit(self._batch, self.step + 1)
        torch.manual_seed(recipe.seed * 1_000_003 + self.step + 1)
        self._set_lr()
        self.model.train()
        output = self.model.joint(batch.clips, batch.visible, batch.masked)
        loss, _ = joint_loss(output, batch.classes, recipe.reconstruction_weight)
        if recipe.flow_weight:
            loss = loss + recipe.flow_weight * self._flow_loss(output.tokens, batch)
        self.model.zero_grad()
        self.flow_head.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimiser.clip_norm)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        assert output.logits is not None
        return float(loss.detach()), float((output.logits.argmax(dim=1) == batch.classes).float().mean())

    def close(self) -> None:
        """Stop the thread that draws batches ahead."""
        self._ahead.shutdown(wait=False, cancel_futures=True)

    def save(self, out: Path) -> None:
        """Write the checkpoint and the state that the next start needs."""
        recipe = self.recipe
        info = checkpoint.CheckpointInfo(
            name=recipe.name,
            description=recipe.description,
            licence=recipe.licence,
            labels=list(LABELS),
            rate_fps=recipe.data.rate_fps,
            resize="stretch",
            mask_ratio=recipe.mask.ratio,
            idle_label=recipe.idle_label,
            provenance=self._provenance(),
        )
        state = out / STATE
        partial = state.with_name(state.name + ".partial")
        try:
            out.mkdir(parents=True, exist_ok=True)
            torch.save(
                {
                    "step": self.step,
                    "model": self.model.state_dict(),
                    "flow_head": self.flow_head.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                    "recipe": self._identity(),
                },
                partial,
            )
            os.replace(partial, state)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            with suppress(OSError):
                partial.unlink()
            raise OutputError(f"cannot write {state}: {error}") from error
        checkpoint.save(out / LAST, self.model, self.config, info)

    def resume(self, out: Path) -> None:
        """Go on from the state in a folder, if there is one."""
        path = out / STATE
        if not path.exists():
            return
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{path} is damaged; delete the folder {out} to start anew") from error
        if state["recipe"] != self._identity():
            raise CheckpointError(
                f"{out} holds a run of another recipe. Set trainer.out to a new folder, or delete that one"
            )
        self.model.load_state_dict(state["model"])
        self.flow_head.load_state_dict(state["flow_head"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = state["step"]

    def _batch(self, step: int) -> _Batch:
        """Draw the clips and masks of a step; depends on the seed and the step alone."""
        settings, count = self.recipe.mask, self.recipe.trainer.batch
        rng = np.random.default_rng([self.recipe.seed, step + 1])
        films = self.data.sample(count, rng)
        grid = self.config.geometry.grid
        if settings.fixed_from is not None and step >= settings.fixed_from:
            masks = [cell_running_mask(grid, settings.ratio)] * count
        else:
            masks = [training_mask(grid, settings.ratio, rng, settings.kind) for _ in range(count)]
        return _Batch(
            clips=torch.from_numpy(np.stack([film.clip for film in films])),
            classes=torch.tensor([film.label for film in films]),
            flows=torch.from_numpy(np.stack([film.flow for film in films])).flatten(1, 3),
            visible=torch.from_numpy(np.stack([visible_indices(mask) for mask in masks])),
            masked=torch.from_numpy(np.stack([masked_indices(mask) for mask in masks])),
        )

    def _flow_loss(self, tokens: Tensor, batch: _Batch) -> Tensor:
        """Squared error of the flow told by visible tokens (B, N, D), on a scale that fits slow and fast moves."""
        target = torch.asinh(pick(batch.flows, batch.visible) / FLOW_SCALE)
        return F.mse_loss(self.flow_head(tokens), target)

    def _set_lr(self) -> None:
        settings = self.recipe.optimiser
        if settings.schedule:
            steps, shares = zip(*settings.schedule, strict=True)
            share = float(np.interp(self.step, np.array(steps, np.float64), np.array(shares, np.float64)))
        else:
            warm = min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
            share = warm * 0.5 * (1 + float(np.cos(np.pi * self.step / self.recipe.trainer.steps)))
        for optimiser, peaks in zip(self.optimisers, self._peak_lr, strict=True):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * share

    def _identity(self) -> str:
        """What must stay the same for a resume: all but the words, how long one sitting lasts, and where the cache is."""
        sitting = {"max_minutes", "threads", "out", "checkpoint_steps"}
        words = dict.fromkeys(("name", "description", "licence", "attribution", "idle_label"), True)
        return self.recipe.model_dump_json(exclude={**words, "trainer": sitting, "data": {"cache"}})

    def _provenance(self) -> dict[str, Any]:
        recipe = self.recipe.model_dump(
            mode="json", exclude={"attribution": True, "trainer": {"out"}, "data": {"cache", "pictures", "videos"}}
        )
        return {
            "command": f"mar-edge train {self.recipe.name}.yaml",
            "data": self.recipe.attribution,
            "recipe": recipe,
            "data_digest": self.data.digest,
            "step": self.step,
            "versions": {
                "mar_edge": mar_edge.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }


def _optimisers(model: nn.Module, settings: OptimiserPart) -> list[torch.optim.Optimizer]:
    """Return the optimisers; norms and biases have no weight decay."""
    by_muon = [p for n, p in model.named_parameters() if settings.kind == "muon" and p.dim() == 2 and ".blocks." in n]
    taken = {id(p) for p in by_muon}
    rest = [p for p in model.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas)]
    if by_muon:
        optimisers.append(
            torch.optim.Muon(
                by_muon, lr=settings.muon_lr, weight_decay=settings.weight_decay, momentum=settings.muon_momentum
            )
        )
    return optimisers


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
