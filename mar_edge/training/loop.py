"""The training loop, on Lightning Fabric: one recipe on a laptop's CPU, one GPU, eight, or several nodes.

Fabric places the model, distributes it (DDP, FSDP), scales and clips gradients and detects torchrun and SLURM; the
loop is our own, because a resume is exact only if every step is a function of the state and its number.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from mar_edge.errors import MarEdgeError, TrainingError
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.model.mar import MAR
from mar_edge.training.batches import Batches, Rank, default_workers, loaded_batches
from mar_edge.training.interrupts import Interrupts
from mar_edge.training.judgement.judgement import Judgement
from mar_edge.training.judgement.looks import RISING, Looks
from mar_edge.training.model_setup import make_objective
from mar_edge.training.objective import Batch, Losses
from mar_edge.training.optimiser import average_of, lr_share, make_optimisers, set_lr
from mar_edge.training.progress import RATE, RunLog, TrainingView
from mar_edge.training.provenance import checkpoint_info, identity_of
from mar_edge.training.recipe import Recipe
from mar_edge.training.result import Ended, TrainingResult, judge_training
from mar_edge.training.run_folder import BEST, LAST, TENSORBOARD, RunFolder
from mar_edge.training.training_data import TrainingData
from mar_edge.training.validation import validate
from mar_edge.training.videos import VideoClips


class Trainer:
    """One training run: model, optimisers, their state, and the loop.

    Args:
        recipe: what to train; its batch and loaders as planned.
        data: its data.
        fabric: launched.

    Attributes:
        step: steps done so far.
        steps: steps of the entire training.
        notes: sentences for the user.
        warnings: sentences about what is wrong.
    """

    def __init__(self, recipe: Recipe, data: TrainingData, fabric: Fabric) -> None:
        settings = recipe.trainer
        self._recipe, self._data, self._fabric = recipe, data, fabric
        clips = settings.clips * settings.accumulate * fabric.world_size
        self._epoch_steps = data.order.epoch_places / clips
        self.steps = settings.steps or max(1, math.ceil((settings.epochs or 0) * self._epoch_steps))
        self.step = 0
        torch.manual_seed(recipe.seed)
        self._config = recipe.model.config(classes=len(data.labels))
        self._folder = RunFolder(settings.out, identity_of(recipe, data.digest, clips), fabric)
        self._objective, self.notes = make_objective(recipe, data, self._config, goes_on=self._folder.goes_on)
        self._module = fabric.setup_module(self._objective)
        self._optimisers: list[Any] = [
            fabric.setup_optimizers(optimiser)
            for optimiser in make_optimisers(self._objective, recipe.optimiser, depth=recipe.model.depth)
        ]
        ema = recipe.optimiser.ema
        self._ema = None if ema is None else average_of(self._objective.model, ema)
        self._progress: dict[str, Any] = {"step": 0, "rows": [], "best": None, "elapsed_s": 0.0, "waited_s": 0.0}
        self._recent: deque[float] = deque(maxlen=100)
        self._judgement: Judgement | None = None
        self._resume()
        self._looks = Looks.of(self._progress["rows"])

    def run(self, interrupts: Interrupts, view: TrainingView) -> TrainingResult:
        """Train until the recipe's steps are done, its patience or time limit is reached, or an interrupt arrives.

        Args:
            interrupts: checked after every step.
            view: shows every step, and what is worth a sentence.

        Raises:
            OutputError: if checkpoints cannot be written.
            TrainingError: if the loss is NaN or infinite.
        """
        minutes = self._recipe.trainer.max_minutes
        stop_at = math.inf if minutes is None else time.monotonic() + 60 * minutes
        board = self._folder.path / TENSORBOARD if self._fabric.is_global_zero else None
        log = RunLog(board, self.steps, self._progress["rows"])
        validation: Evaluation | None = None
        saved, stop = self.step, self._finished
        with closing(log), nullcontext(iter(())) if stop else self._loader() as loader:
            while not stop:
                figures = self._one_step(loader)
                log.add(self.step, self.step / self._epoch_steps, figures)
                view.stepped(self.step, self._note(figures))
                if self.step >= self.steps or self.step % self._validate_every() == 0:
                    validation = self._validate(log, view)
                    view.noted(self._note(figures))
                stop = self._finished or self._agree(time.monotonic() > stop_at or interrupts.signal is not None)
                if stop or self.step % self._recipe.trainer.checkpoint_steps == 0:
                    self._save(log)
                    saved = self.step
        assert saved == self.step
        if self._finished:
            self._report(view)
            if validation is None and self._data.val is not None:  # an earlier start ended the training
                validation = self._judge(self._weights(), self._data.val, view)
        return self._result(validation, interrupts.signal)

    def close(self) -> None:
        """Release the run's folder."""
        self._folder.close()

    @property
    def _out_of_patience(self) -> bool:
        patience = self._recipe.trainer.patience
        return patience is not None and self._looks.since_best >= patience

    @property
    def _finished(self) -> bool:
        """Whether there is nothing left to do, now and after a restart."""
        return self.step >= self.steps or self._out_of_patience

    def _one_step(self, loader: Iterator[Batch]) -> dict[str, float]:
        """Run one optimiser step and return its figures."""
        began_s = time.perf_counter()
        recipe, waited_s = self._recipe, 0.0
        share = lr_share(recipe.optimiser, self.step, steps=self.steps, steps_per_epoch=self._epoch_steps)
        set_lr(self._optimisers, share)
        # random numbers of the model (drop path) depend on the step and the process, not on earlier ones
        torch.manual_seed((recipe.seed * 1_000_003 + self.step + 1) * 1_009 + self._fabric.global_rank)
        self._module.train()
        passes = recipe.trainer.accumulate
        sums: defaultdict[str, float] = defaultdict(float)
        for index in range(passes):
            asked_s = time.perf_counter()
            batch = _next_batch(loader)
            waited_s += time.perf_counter() - asked_s
            batch = self._fabric.to_device(batch)
            with self._fabric.no_backward_sync(self._module, enabled=index < passes - 1):
                losses: Losses = self._module(batch)
                self._fabric.backward(losses.total / passes)
            self._check_finite(losses.total, batch)
            for name, value in self._figures(losses, batch).items():
                sums[name] += value / passes
        self._clip_gradients(batch)
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if self._ema is not None:
            self._ema.update_parameters(self._objective.model)
        self.step += 1
        if "top1" in sums:
            self._recent.append(sums["top1"])
        elapsed_s = time.perf_counter() - began_s
        self._progress["elapsed_s"] += elapsed_s
        self._progress["waited_s"] += waited_s
        clips = recipe.trainer.clips * passes * self._fabric.world_size
        return {**sums, "lr": share * recipe.optimiser.lr, RATE: clips / elapsed_s}

    def _figures(self, losses: Losses, batch: Batch) -> dict[str, float]:
        figures = {"loss": float(losses.total.detach()), **{name: float(part) for name, part in losses.parts.items()}}
        if losses.logits.shape[1]:
            right = losses.logits.argmax(dim=1) == batch.last_targets.argmax(dim=1)
            figures["top1"] = float(right.float().mean())
        if self._fabric.world_size == 1:
            return figures
        means = self._fabric.all_reduce(torch.tensor([*figures.values()], device=self._fabric.device))
        assert isinstance(means, Tensor)
        return dict(zip(figures, means.tolist(), strict=True))

    def _check_finite(self, value: Tensor, batch: Batch) -> None:
        """Stop before a step that would damage the weights."""
        finite = bool(torch.isfinite(value.detach()))
        if self._agree(not finite):
            files = ", ".join(dict.fromkeys(batch.files)) if not finite else "those of another process"
            kept = f"The checkpoint in {self._folder.path} is from before. " if self._folder.goes_on else ""
            raise TrainingError(
                f"the loss of step {self.step + 1} is NaN or infinite; its clips: {files}. {kept}Check these clips, or "
                "lower optimiser.lr or raise optimiser.warmup_steps"
            )

    def _clip_gradients(self, batch: Batch) -> None:
        max_norm = self._recipe.optimiser.clip_norm
        for optimiser in self._optimisers:
            norm = self._fabric.clip_gradients(
                self._module, optimiser, max_norm=max_norm or math.inf, error_if_nonfinite=False
            )
            if norm is not None and self._recipe.trainer.precision != "fp16":  # with fp16 the scaler skips such steps
                self._check_finite(norm, batch)

    def _agree(self, wish: bool) -> bool:
        """Return whether any process requests it: all must stop at the same step."""
        if self._fabric.world_size == 1:
            return wish
        wishes = self._fabric.all_reduce(torch.tensor(float(wish), device=self._fabric.device), reduce_op="sum")
        assert isinstance(wishes, Tensor)
        return bool(wishes > 0)

    def _validate(self, log: RunLog, view: TrainingView) -> Evaluation | None:
        """Evaluate the weights that would be saved; keep them if they are the best so far."""
        if self._data.val is None:
            return None
        evaluation = self._judge(self._weights(), self._data.val, view)
        figures = {"val_top1": evaluation.top1, "val_loss": evaluation.loss}
        log.row(self.step, self.step / self._epoch_steps, figures)
        self._looks = Looks.of(log.rows)
        if self._looks.best is not None and self._looks.since_best == 0:
            self._progress["best"] = {"step": self.step, **figures}
            self._save_weights(BEST, figures)
        elif self._looks.since_best == RISING and self._looks.risen:  # once for each best one
            view.say(self._looks.risen, "yellow")
        return evaluation

    def _judge(self, model: MAR, val: VideoClips, view: TrainingView) -> Evaluation:
        recipe = self._recipe
        mask = recipe.mask.test_mask(recipe.clip.grid)
        evaluation = validate(
            model,
            val,
            mask,
            self._fabric,
            batch=recipe.trainer.clips,
            clip_answer=recipe.clip_answer,
            idle_label=recipe.idle_label,
            tell=view.validating,
        )
        return replace(evaluation, grouping=val.grouping)

    def _weights(self) -> MAR:
        """Return the model to evaluate and save: the running average if there is one."""
        model = self._objective.model if self._ema is None else self._ema.module
        assert isinstance(model, MAR)
        return model

    def _save_weights(self, name: str, figures: dict[str, Any]) -> None:
        said = {"step": self.step, **self._data.provenance, **figures}
        info = checkpoint_info(self._recipe, self._data.labels, self._data.digest, said)
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_model_state_dict(self._weights(), options=whole)
        if self._fabric.is_global_zero:
            with torch.device("meta"):
                model = build(self._config)
            model.load_state_dict(state, assign=True)
            checkpoint.save(self._folder.path / name, model, self._config, info)

    def _save(self, log: RunLog) -> None:
        """Write the state that the next start resumes from, and the newest weights."""
        settings = self._recipe.trainer
        self._progress |= {"step": self.step, "rows": log.rows, "passes": [settings.clips, settings.accumulate]}
        # the state comes last: after a kill in between, the next start repeats the steps and writes the weights again
        self._save_weights(LAST, {})
        self._folder.save(self._state(), self._progress)
        if self._fabric.is_global_zero:
            self._folder.write_log(log.rows)

    def _report(self, view: TrainingView) -> None:
        """Choose the weights to use, and write the report."""
        evaluation, kept = None, self._folder.path / BEST
        if self._data.val is not None:
            # unless it was moved
            best = checkpoint.load(kept)[0].to(self._fabric.device) if kept.exists() else self._weights()
            evaluation = self._judge(best, self._data.val, view)
        if not kept.exists() and not (self._folder.path / LAST).exists():
            self._save_weights(LAST, {})  # moved too
        if self._fabric.is_global_zero:
            self._judgement = judge_training(
                self._recipe,
                self._data,
                {**self._progress, "steps": self.steps, "lr_share": self._lr_share()},
                evaluation,
            )

    def _lr_share(self) -> float:
        """Return the learning rate of the newest step as a share of the highest one."""
        return lr_share(
            self._recipe.optimiser, max(0, self.step - 1), steps=self.steps, steps_per_epoch=self._epoch_steps
        )

    def _resume(self) -> None:
        state = self._state()
        progress = self._folder.resume(state)
        self.warnings = [] if self._folder.warning is None else [self._folder.warning]
        if progress is not None:
            self._progress = progress
            self.step = progress["step"]
            self.notes.append(f"resumes from step {self.step} of {self.steps}")
            self._fabric.strategy.precision.load_state_dict(state["precision"])

    def _state(self) -> dict[str, Any]:
        optimisers = {f"optimiser_{index}": optimiser for index, optimiser in enumerate(self._optimisers)}
        average = {} if self._ema is None else {"average": self._ema}
        return {
            "module": self._module,
            **optimisers,
            **average,
            "precision": self._fabric.strategy.precision.state_dict(),
        }

    def _loader(self) -> AbstractContextManager[Iterator[Batch]]:
        settings = self._recipe.trainer
        batches = Batches(
            self._data.train,
            self._data.order,
            seed=self._recipe.seed,
            grid=self._recipe.clip.grid,
            mask=self._recipe.mask,
            mixing=self._recipe.mix,
            batch=settings.clips,
            accumulate=settings.accumulate,
            rank=Rank(self._fabric.global_rank, self._fabric.world_size),
            streaming=self._recipe.streaming,
        )
        workers = settings.workers
        if workers is None:
            workers = default_workers(self._fabric.world_size)
        passes = settings.accumulate
        return loaded_batches(
            batches,
            self.step * passes,
            self.steps * passes,
            workers=workers,
            pin_memory=self._fabric.device.type == "cuda",
        )

    def _validate_every(self) -> int:
        settings = self._recipe.trainer
        if settings.validate_steps is not None:
            return settings.validate_steps
        if settings.validate_epochs is not None:
            return max(1, round(settings.validate_epochs * self._epoch_steps))
        return max(1, round(self._epoch_steps), self.steps // 20)

    def _note(self, figures: dict[str, float]) -> str:
        accuracy = self._accuracy()
        top1 = "" if accuracy is None else f"  top-1 {accuracy:.3f}"
        best, newest = self._progress["best"], self._looks.all[-1:]
        val = "".join(f"  validation {look.top1:.3f}, loss {look.loss:.3f}" for look in newest)
        val += f" (best at step {best['step']})" if best else ""
        return f"loss {figures['loss']:.3f}{top1}{val}  {figures[RATE]:.0f} clips/s"

    def _accuracy(self) -> float | None:
        return float(np.mean(self._recent)) if self._recent else None

    def _result(self, validation: Evaluation | None, interrupted: int | None) -> TrainingResult:
        best, elapsed_s = self._progress["best"], self._progress["elapsed_s"]
        return TrainingResult(
            checkpoint=self._folder.path / LAST,
            best=self._folder.path / BEST if best and (self._folder.path / BEST).exists() else None,
            step=self.step,
            steps=self.steps,
            accuracy=self._accuracy(),
            validation=validation,
            best_top1=best["val_top1"] if best else None,
            data_wait=self._progress["waited_s"] / elapsed_s if elapsed_s else math.nan,
            ended=self._ended(interrupted),
            interrupted=interrupted,
            judgement=self._judgement,
            rank=self._fabric.global_rank,
        )

    def _ended(self, interrupted: int | None) -> Ended:
        if self.step >= self.steps:
            return "steps"
        if self._out_of_patience:
            return "patience"
        return "time" if interrupted is None else "signal"


def _next_batch(loader: Iterator[Batch]) -> Batch:
    try:
        return next(loader)
    except MarEdgeError as error:  # an error of a worker contains its traceback, the message last
        told = str(error).strip().splitlines()[-1]
        raise type(error)(told.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error
