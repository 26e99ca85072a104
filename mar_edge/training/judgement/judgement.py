"""What there is to say of a finished training, in the words of a practitioner: one place for the report and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mar_edge.counting import counted
from mar_edge.evaluation.detection import Detection, detect
from mar_edge.evaluation.metrics import FEW_GROUPS, Evaluation
from mar_edge.evaluation.report_words import Answer
from mar_edge.event_settings import ONSET, EventDefaults, filled
from mar_edge.training.judgement.choice import Choice
from mar_edge.training.judgement.looks import Looks
from mar_edge.training.judgement.next_commands import FALSE_ALARMS, NextCommand
from mar_edge.training.judgement.suspects import MOST, Suspect
from mar_edge.training.recipe import Recipe

GAP = 0.15
"""Share by which training clips are recognised more often than others, from which on it is worth a sentence."""

LOW = 0.5
"""Share of training clips below which more training may help."""

WIDE = 0.2
"""Width of an interval from which on there are too few clips or groups to tell models apart."""

SHOWN = 2
"""Clips that the terminal names; the report has all."""

NEWEST = 20
"""Rows of a log, at least, that tell how training clips are recognised at the end."""


@dataclass(frozen=True)
class Judgement:
    """A finished training, judged.

    Attributes:
        choice: the weights to use.
        weights: where they are.
        ended: why it ended early, a sentence; None if all steps were done.
        fit: whether it is over-fitted, sentences.
        groups: whether there are enough groups to tell, sentences.
        detection: the classes as detectors; None as in `judge_detection`, or without validation clips.
        suspects: clips whose label is doubtful.
        leaks: what both lists have in common, sentences.
        commands: what to type next.
    """

    choice: Choice
    weights: Path
    ended: str | None
    fit: tuple[str, ...]
    groups: tuple[str, ...]
    detection: Detection | None
    suspects: tuple[Suspect, ...]
    leaks: tuple[str, ...]
    commands: tuple[NextCommand, ...]

    @property
    def answers(self) -> list[Answer]:
        """What a practitioner asks, and the answers."""
        compared = self.choice.worth or ["Nothing to compare with: set baselines: true in a recipe of labelled videos"]
        asked = [
            Answer("Which weights?", [f"Use {self.weights}", *self.choice.why]),
            Answer("Worth a network?", compared if self.choice.chosen.evaluation is not None else []),
            Answer("Over-fitted?", [*([self.ended] if self.ended else []), *self.fit]),
            Answer("Enough clips?", self.groups),
            Answer("Leaks?", self.leaks or (["None found by files and groups"] if self.groups else [])),
            Answer("Doubtful labels?", [_of_suspects(self.suspects, 0)] if self.groups else [], _table(self.suspects)),
        ]
        return [one for one in asked if one.sentences]

    @property
    def short(self) -> list[str]:
        """The lines for the terminal."""
        lines = [f"use {self.weights}: {'. '.join(self.choice.why)}", *self.choice.worth]
        lines += [self.ended] if self.ended else []
        lines += [f"over-fitted? {said}" for said in self.fit[:1]]
        lines += [f"enough clips? {said}" for said in self.groups[:1]]
        lines += [f"leak: {said}" for said in self.leaks]
        if self.suspects:
            lines.append(f"doubtful labels? {_of_suspects(self.suspects, SHOWN)}")
        return [*lines, *(f"to {one.does}: {one.line}" for one in self.commands)]


def judge_fit(looks: Looks, train_top1: float | None) -> tuple[str, ...]:
    """Say whether a training is over-fitted, from its looks and the share of training clips that it recognised at the end."""
    if not looks.all or train_top1 is None:
        return ()
    last, risen = looks.all[-1], looks.risen
    shares = f"at the end fine-tuning recognised {train_top1:.0%} of its training clips, as augmented, and {last.top1:.0%} of the validation clips"
    rising = f"{risen[0].upper()}{risen[1:]} (the middle one of three validations each)" if risen else None
    if train_top1 - last.top1 >= GAP:
        said = f"Over-fitted: {shares}" if rising else f"It knows its training clips better than others: {shares}"
        more = "Clips of more groups help most; then more augmentation, a smaller model or fewer steps"
        return (f"{said}. {more}", *([rising] if rising else ["Validation loss has not risen, though"]))
    if rising:
        return (rising,)
    if train_top1 < LOW:
        return (f"Under-fitted: {shares}. More steps, a higher learning rate or weights to start from may help",)
    if looks.since_best == 0 and len(looks.all) > 1:
        return (f"No: {shares}; the validation loss still fell at the end, so more steps may help",)
    return (f"No: {shares}",)


def judge_groups(evaluation: Evaluation) -> tuple[str, ...]:
    """Say whether there are enough validation clips, and groups of them, to tell models apart."""
    low, high = evaluation.interval95
    clips, grouping = counted(len(evaluation.names), "validation clip"), evaluation.grouping
    count = len(evaluation.names) if evaluation.bootstrap is None else evaluation.bootstrap.count
    what = f"{clips}" if evaluation.bootstrap is None else f"{clips} of {counted(count, 'group')}"
    said = f"the 95 % interval of top-1 is {100 * (high - low):.0f} points wide, {low:.0%} to {high:.0%}, from {what}"
    if grouping is not None and not grouping.independent and len(set(grouping.groups)) == 1:
        one = f"No: all {clips} are of one group ({grouping.groups[0]}), so they cannot tell how well others are recognised"
        return (one, f"For independent clips {said}", grouping.said.rstrip("."))
    many = "four times as many halve it"
    few = evaluation.bootstrap is not None and count < FEW_GROUPS
    notes = [f"No: {said}; {many}" if high - low > WIDE else f"Perhaps: {said}" if few else f"Yes: {said}"]
    if few:
        notes.append(f"The interval itself is rough: {FEW_GROUPS} groups or more would make it reliable")
    return (*notes, *([] if grouping is None else [grouping.said.rstrip(".")]))


def judge_detection(recipe: Recipe, evaluation: Evaluation) -> Detection | None:
    """Judge the classes as detectors; None unless there are two classes, or an idle one."""
    if len(evaluation.labels) != 2 and recipe.idle_label is None:
        return None
    events = recipe.events or EventDefaults()
    onsets = {}
    for label in evaluation.labels:
        own = events.classes.get(label)
        onsets[label] = filled(None if own is None else own.onset, filled(events.onset, ONSET))
    clips = np.bincount(evaluation.targets, minlength=len(evaluation.labels))
    judged = [label for label, count in zip(evaluation.labels, clips.tolist(), strict=True) if 0 < count < clips.sum()]
    wanted = FALSE_ALARMS if set(judged) - {recipe.idle_label} else None
    return detect(evaluation, idle_label=recipe.idle_label, onsets=onsets, false_alarms=wanted)


def recognised(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the share of training clips that were recognised at the end, by the newest rows of a log; None if it tells none."""
    shares = [row["top1"] for row in rows if "top1" in row]
    return float(np.mean(shares[-max(NEWEST, len(shares) // 10) :])) if shares else None


def _of_suspects(suspects: Sequence[Suspect], shown: int) -> str:
    """Say how many clips there are to look at, and name the first ones."""
    if not suspects:
        return "None found: no model is sure that a clip which it has not seen is of another class"
    named = ", ".join(f"{one.name} ({one.label}, or {one.looks_like}?)" for one in suspects[:shown])
    count = f"{'at least ' if len(suspects) == MOST else ''}{counted(len(suspects), 'clip')}"
    return f"look at {count}, wrongly labelled or hard{f', such as {named}' if named else ''}"


def _table(suspects: Sequence[Suspect]) -> list[tuple[str, ...]]:
    """Return the rows of a table, its head first; empty without suspects."""
    head = ("clip", "of", "labelled", "looks like", "score", "says")
    rows = _rows(suspects)
    return [head, *rows] if suspects else []


def _rows(suspects: Sequence[Suspect]) -> Iterator[tuple[str, ...]]:
    for one in suspects:
        yield one.name, one.part, one.label, one.looks_like, f"{one.score:.0%}", one.judge
