"""Reads from class names what a recipe should know: which class is none, which ones a mirror exchanges, which can be drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mar_edge.datasets.class_numbers import some
from mar_edge.errors import OptionError
from mar_edge.training.augmentation.label_swaps import Pair, directed_labels, mirrored_pairs
from mar_edge.training.synthetic.figure import ACTIONS

Mirror = Literal["keep", "swap", "no"]
"""`keep`: a mirrored clip has the same class; `swap`: classes of left and right are exchanged; `no`: clips are not mirrored."""

Ask = Callable[[str, Sequence[str], str], str | None]
"""Asks a question with possible answers and a default; None if nobody can answer."""

_IDLE = {
    "none", "nothing", "no", "null", "other", "others", "else", "background", "bg", "normal", "idle", "negative", "rest", "neutral",
    "noaction", "nogesture", "nofall", "nonfall", "notfall", "nothinghappens", "unknown", "misc", "adl", "empty", "standby",
}  # fmt: skip


@dataclass(frozen=True)
class Mirroring:
    """Whether clips are mirrored.

    Attributes:
        flip: probability.
        swaps: labels that are exchanged then.
        said: why, for a comment.
        open: a sentence for the user on what was not decided; None if all was.
    """

    flip: float
    swaps: tuple[Pair, ...]
    said: str
    open: str | None = None


def idle_candidates(labels: Sequence[str]) -> list[str]:
    """Return the classes whose names say that nothing of interest happens."""
    return [label for label in labels if re.sub(r"[\W_]+", "", label).lower() in _IDLE]


def choose_idle(labels: Sequence[str], asked: str | None, ask: Ask) -> tuple[str | None, str]:
    """Return the class that is never an event, and why.

    Args:
        labels: the classes.
        asked: of the command line: a class or `none`; None to decide here.
        ask: for a person.

    Raises:
        OptionError: if `asked` is no class.
    """
    if asked in labels:
        return asked, "as --idle says; it is never reported as an event"
    if asked is not None and asked != "none":
        raise OptionError(f"--idle {asked}: the classes are {some(labels)}; name one of them, or none")
    found = idle_candidates(labels)
    if asked == "none" or len(found) != 1:
        more = f"; of {', '.join(found)} name one with --idle" if asked is None and len(found) > 1 else ""
        return (
            None,
            f"every class is reported as an event{more}. A class for everything else (none, other) makes fewer false alarms",
        )
    question = f"Is '{found[0]}' the class for everything that should not be reported?"
    if ask(question, ("yes", "no"), "yes") == "no":
        return None, "every class is reported as an event"
    return found[0], "its name says that nothing of interest happens: it is never reported as an event"


def choose_mirroring(labels: Sequence[str], asked: Mirror | None, ask: Ask) -> Mirroring:
    """Decide whether clips are mirrored in training; where class names say left or right, a person decides.

    Args:
        labels: the classes.
        asked: of the command line; None to decide here.
        ask: for a person.

    Raises:
        OptionError: if classes are to be exchanged, and no two differ in left and right.
    """
    pairs, words = mirrored_pairs(labels), directed_labels(labels)
    directed = [label for label in labels if label in words or re.search("left|right", label, re.IGNORECASE)]
    if asked is None and not directed:
        return Mirroring(
            0.5,
            (),
            "mirrored half of the time: no class name says left or right. Set it to 0 if a mirrored clip shows something else",
        )
    if asked is None:
        named = some(directed)
        offered = get_args(Mirror) if pairs else ("keep", "no")
        meaning = f"swap (classes are exchanged: {_shown(pairs)}), " if pairs else ""
        question = (
            f"Classes say left or right ({named}). In a mirrored clip: {meaning}keep (classes stay, as with the left and the "
            "right end of a field), no (do not mirror)?"
        )
        answer = ask(question, offered, "no")
        if answer is None:
            allow = f"--mirror swap exchanges {_shown(pairs)}, " if pairs else ""
            said = f"not mirrored, because class names say left or right ({named}) and only you know what a mirrored clip shows"
            return Mirroring(
                0.0,
                (),
                said,
                f"clips are {said}: {allow}--mirror keep lets classes stay, --mirror no says it is right so",
            )
        asked = next(one for one in get_args(Mirror) if one == answer)
    if asked == "no":
        return Mirroring(0.0, (), "not mirrored, as you said")
    if asked == "keep":
        stay = tuple((label, label) for label in directed)
        return Mirroring(0.5, stay, "mirrored half of the time; classes stay, as you said")
    if not pairs:
        raise OptionError("--mirror swap: no two classes differ in left and right; use --mirror keep or no")
    alone = tuple((label, label) for label in directed if not any(label in pair for pair in pairs))
    return Mirroring(0.5, (*pairs, *alone), "mirrored half of the time, with left and right exchanged, as you said")


def can_be_drawn(labels: Sequence[str]) -> bool:
    """Return whether the classes are those that mar-edge draws figures of."""
    return sorted(labels) == sorted(ACTIONS)


def words_of(labels: Sequence[str]) -> set[str]:
    """Return the words of class names, in lower case: `swipe_left` and `SwipeLeft` have the same."""
    return {
        word.lower()
        for label in labels
        for word in re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", label))
    }


def _shown(pairs: Sequence[Pair]) -> str:
    return ", ".join(f"{a} and {b}" for a, b in pairs)
