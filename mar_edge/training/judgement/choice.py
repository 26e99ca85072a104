"""Chooses the weights to use, of what was fine-tuned and of the probes, by validation clips and with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mar_edge.counting import counted
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.model import checkpoint
from mar_edge.training.baselines.baseline import Baseline
from mar_edge.training.baselines.comparison import Difference, compare, share_interval95

CHOSEN = "chosen.safetensors"
"""Name of the weights to use, in the folder of a run."""

TUNED = "fine-tuning"
ADVICE = "More groups (people, rooms, recordings) help most; then longer clips, or classes that look less alike (see Confusion)"


@dataclass(frozen=True)
class Candidate:
    """What can be compared on the validation clips.

    Attributes:
        name: `fine-tuning`, or that of a baseline.
        evaluation: on the validation clips; None without them.
        checkpoint: its weights; None for what is no network.
    """

    name: str
    evaluation: Evaluation | None
    checkpoint: Path | None


@dataclass(frozen=True)
class Choice:
    """The weights to use, and why.

    Attributes:
        chosen: whose weights they are.
        why: sentences: how good they are, and what they were compared with.
        beaten: what is simpler, by name, and whether the chosen weights are better than it; without what could not be compared.
    """

    chosen: Candidate
    why: tuple[str, ...]
    beaten: dict[str, Difference]

    @property
    def worth(self) -> list[str]:
        """Whether the weights are better than what needs no network, and what to do if they are not; sentences."""
        said = []
        for name, difference in self.beaten.items():
            other = {"majority": "always naming the largest class", "flow": "the regression on optical flow"}[name]
            said.append(difference.said(_named(self.chosen.name), other))
        if self._below("majority"):
            said.append(f"So nothing was learned that these clips can show. {ADVICE}")
        elif self._below("flow"):
            said.append(f"So a network is not shown to be worth it: flow needs none. {ADVICE}")
        return said

    @property
    def curves_of(self) -> str:
        """Whose the curves of the training are, a sentence; empty if all figures are of the same weights."""
        if self.chosen.name == TUNED:
            return ""
        return f"These curves are of fine-tuning. All other figures are of the {self.chosen.name}, which was chosen."

    def _below(self, name: str) -> bool:
        return name in self.beaten and self.beaten[name].verdict != "better"


def choose(tuned: Candidate, baselines: Sequence[Baseline]) -> Choice:
    """Choose the weights to use.

    The best probe is taken unless fine-tuning is better beyond doubt: it is cheaper, it was not chosen after many looks at these
    clips, and its last layer was fitted with whole groups left out. One that is no better than always naming the largest class
    has learned nothing, and is taken only if fine-tuning has not either.

    Args:
        tuned: the fine-tuned weights.
        baselines: of the same recipe.
    """
    if tuned.evaluation is None:
        return Choice(
            tuned, ("There are no validation clips, so nothing could be chosen: these are the newest weights",), {}
        )
    others = {one.name: one for one in baselines if _comparable(one.evaluation, tuned.evaluation)}
    best = _best_probe(list(others.values()))
    groups = _groups(tuned.evaluation)
    chosen, why = tuned, []
    if best is not None:
        difference = compare(tuned.evaluation, _judged(best), groups)
        why = [difference.said("Fine-tuning", f"the {best.name}")]
        least = _judged(others["majority"]).top1 if "majority" in others else 0.0
        if difference.verdict != "better" and _judged(best).top1 <= least < tuned.evaluation.top1:
            why[0] += f". The {best.name} is no better than always naming the largest class, so fine-tuning is taken"
        elif difference.verdict != "better":
            chosen = Candidate(best.name, replace(_judged(best), grouping=tuned.evaluation.grouping), best.checkpoint)
            why[0] += ", so the probe is taken, which is cheaper and surer"
    elif baselines and not others:
        why = ["The baselines were judged on other clips, so they cannot be compared"]
    assert chosen.evaluation is not None
    simple = [one for one in others.values() if one.name in ("majority", "flow")]
    beaten = {one.name: compare(chosen.evaluation, _judged(one), groups) for one in simple}
    return Choice(chosen, (_figures(chosen), *why), beaten)


def write_chosen(path: Path, choice: Choice, source: Path) -> None:
    """Write the chosen weights under their fixed name; in them stands where they come from.

    Args:
        path: the checkpoint to write.
        choice: whose weights, and why.
        source: the checkpoint that has them.

    Raises:
        CheckpointError: if the source cannot be read.
        OutputError: if the file cannot be written.
    """
    model, config, info = checkpoint.load(source)
    origin = {"of": choice.chosen.name, "file": source.name, "why": list(choice.why)}
    checkpoint.save(path, model, config, replace(info, provenance={**info.provenance, "chosen": origin}))


def _best_probe(baselines: Sequence[Baseline]) -> Baseline | None:
    """Return the probe that recognises most validation clips, of equal ones that with the least loss."""
    there = [one for one in baselines if one.checkpoint is not None and one.checkpoint.exists()]
    return max(there, key=lambda one: (_judged(one).top1, -_judged(one).loss), default=None)


def _judged(baseline: Baseline) -> Evaluation:
    assert baseline.evaluation is not None
    return baseline.evaluation


def _comparable(one: Evaluation | None, other: Evaluation) -> bool:
    return one is not None and one.names == other.names and one.labels == other.labels


def _groups(evaluation: Evaluation) -> tuple[str, ...]:
    return evaluation.names if evaluation.grouping is None else evaluation.grouping.groups


def _named(name: str) -> str:
    return "Fine-tuning" if name == TUNED else f"The {name}"


def _figures(chosen: Candidate) -> str:
    evaluation = chosen.evaluation
    assert evaluation is not None
    low, high = share_interval95(evaluation.right, _groups(evaluation))
    clips, groups = counted(len(evaluation.names), "validation clip"), len(set(_groups(evaluation)))
    of = clips if groups == len(evaluation.names) else f"{clips} of {counted(groups, 'group')}"
    return f"{_named(chosen.name)} recognises {evaluation.top1:.1%} of {of} (95 %: {low:.1%} to {high:.1%})"
