"""Which of a run's two states the next start uses: the newest one, or the one before if that is damaged."""

from __future__ import annotations

from pathlib import Path

from mar_edge.errors import CheckpointError
from mar_edge.files.lost_content import is_blank
from mar_edge.files.regular_file import open_regular
from mar_edge.training.state.state_file import PREVIOUS, READING_ERRORS, STATE, TRAINING_STATE, damage, read_plain


def find_state(folder: Path) -> tuple[Path | None, str | None]:
    """Find the newest state that is not damaged. All of its bytes are read.

    Returns:
        Its path, None if there is none; and a warning if it is not the newest.

    Raises:
        CheckpointError: if there are only damaged ones, or another file has the name of the newest.
    """
    newest, previous = folder / STATE, folder / PREVIOUS
    problem = damage(newest) if newest.exists() else "is missing"
    if problem is None:
        return newest, None
    if newest.exists() and not _may_be_ours(newest):
        raise CheckpointError(
            f"{newest} {problem}. Move it away to start again from step 0, or set trainer.out to another folder"
        )
    if previous.exists() and (older := damage(previous)) is None:
        return previous, f"{newest} {problem}; the training resumes from the state before it, {previous.name}"
    if not newest.exists() and not previous.exists():
        return None, None
    broken = f"{newest} {problem}" + (f", and {previous.name} {older}" if previous.exists() else "")
    raise CheckpointError(f"{broken}. Move it away to start again from step 0, or set trainer.out to another folder")


def earlier_passes(folder: Path) -> tuple[int, int] | None:
    """Return the batch and the forward passes per step of an earlier start in a folder; None if they are unknown."""
    for name in (STATE, PREVIOUS):
        try:
            batch, passes = read_plain(folder / name)[1]["passes"]
        except READING_ERRORS:
            continue  # there is none, it is damaged, which `find_state` reports, or of an earlier version
        return int(batch), int(passes)
    return None


def _may_be_ours(path: Path) -> bool:
    try:
        with open(open_regular(path), "rb") as file:
            return TRAINING_STATE.marked(file) or is_blank(file)
    except OSError:
        return False
