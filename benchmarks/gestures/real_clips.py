"""The real clips: which there are, what a model says about each, and the log of how often they were looked at.

They have no licence. They are evaluated on, and nothing else: no picture of them is shown or written by these scripts.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from judging import NONE, TRUTHS, Answers, check_labels, first_event, strongest
from rich.console import Console
from rich.progress import track
from watching import Begun, Said, frames_of, held_around, watch

from mar_edge.bundle import MANIFEST, Bundle
from mar_edge.errors import DataError, OptionError
from mar_edge.runtime.model import Model

DATA = Path("../shared/data/gestures_real")
ROOT = Path(__file__).resolve().parents[2]

HOLD_S = 0.8
"""How long the last picture of a clip is held: the clips are cut where the gesture ends, and a camera goes on."""


@dataclass(frozen=True)
class RealClip:
    """A labelled clip.

    Attributes:
        path: the file.
        label: what it shows, one of `judging.TRUTHS`.
        group: clips of one scene share it.
    """

    path: Path
    label: str
    group: str


@dataclass(frozen=True, eq=False)
class Watched:
    """What a model said about the clips.

    Attributes:
        clips, said: in the same order.
        labels: the model's.
    """

    clips: tuple[RealClip, ...]
    said: tuple[Said, ...]
    labels: tuple[str, ...]

    def begun(self, classes: Sequence[str]) -> list[Begun | None]:
        """Return the first event about every clip."""
        return [first_event(said.begun, classes) for said in self.said]

    def events(self, classes: tuple[str, ...]) -> Answers:
        """Return the class of the first event that begins in each clip, `none` without one."""
        return self._answers(classes, [NONE if event is None else event.label for event in self.begun(classes)])

    def peaks(self, classes: tuple[str, ...]) -> Answers:
        """Return the class of the strongest unsmoothed answer about each clip, see `judging.strongest`."""
        return self._answers(classes, [strongest(said.scores, self.labels, classes) for said in self.said])

    def _answers(self, classes: tuple[str, ...], answers: Sequence[str]) -> Answers:
        truths, groups = zip(*((clip.label, clip.group) for clip in self.clips), strict=True)
        return Answers(classes, truths, tuple(answers), groups)


def read_clips(folder: Path) -> tuple[RealClip, ...]:
    """Read `clips.csv` of a folder, with the columns path, label and group.

    Raises:
        DataError: if it is missing, empty, or has a label that is not one of the set's.
    """
    listing = folder / "clips.csv"
    try:
        rows = list(csv.DictReader(listing.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise DataError(f"{listing} cannot be read: {error.strerror}. Give the clips' folder with --data") from error
    if not rows or not {"path", "label", "group"} <= set(rows[0]):
        raise DataError(f"{listing} has no clips with path, label and group. Copy the folder again")
    if strange := sorted({row["label"] for row in rows} - set(TRUTHS)):
        raise DataError(f"{listing} has the label {strange[0]!r}; expected {', '.join(TRUTHS)}")
    return tuple(RealClip(folder / row["path"], row["label"], row["group"]) for row in rows)


def watch_clips(
    model: Model,
    clips: Sequence[RealClip],
    classes: Sequence[str],
    *,
    before_s: float = 0.0,
    after_s: float = HOLD_S,
    title: str = "clips",
) -> Watched:
    """Show every clip to the model, each in a session of its own.

    Args:
        model: what watches.
        clips: the clips.
        classes: those that will be judged.
        before_s: how long the first picture is held before the clip, seconds.
        after_s: how long the last picture is held after it, seconds.
        title: of the progress bar.

    Raises:
        OptionError: if the model does not know one of the classes.
        SourceError: if a clip cannot be read.
    """
    check_labels(model.labels, classes)
    said = [
        watch(model, held_around(frames_of(clip.path), before_s=before_s, after_s=after_s), unsmoothed=True)
        for clip in track(clips, description=title, console=Console(stderr=True))
    ]
    return Watched(tuple(clips), tuple(said), tuple(model.labels))


def digest(bundle: Bundle) -> str:
    """Return the hash in a bundle's manifest, which covers the manifest and the hashes of its graphs."""
    values: dict[str, Any] = json.loads((bundle.path / MANIFEST).read_text(encoding="utf-8"))
    return str(values["sha256"])


def check_log(log: Path | None) -> None:
    """Check that the log can be written, before anything is looked at.

    Raises:
        OptionError: if it is in the repository, where a commit would carry it, or cannot be written.
    """
    if log is None:
        return
    if ROOT in log.resolve().parents:
        raise OptionError(f"{log} is inside the repository; keep the log of looks outside of it")
    try:
        log.open("a", encoding="utf-8").close()
    except OSError as error:
        raise OptionError(f"{log} cannot be written: {error.strerror}. Give another file with --log") from error


def note_look(log: Path | None, bundle: Bundle, figures: dict[str, Any]) -> int | None:
    """Add a line to the log of looks.

    Args:
        log: JSON lines; None for no log.
        bundle: what was judged.
        figures: what was seen.

    Returns:
        How many looks the log has now; None without a log.
    """
    if log is None:
        return None
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    line = {"time": now, "bundle": bundle.manifest.name, "digest": digest(bundle), **figures}
    with log.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(line) + "\n")
    return len(log.read_text(encoding="utf-8").splitlines())
