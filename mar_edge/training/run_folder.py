"""The folder of a training run: the state that the next start resumes from, and the checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from mar_edge.errors import CheckpointError, OutputError
from mar_edge.evaluation.report_style import REPORT as REPORT_KIND
from mar_edge.files.atomic_file import NewFile, write_output
from mar_edge.files.marks import lines_kind, mark_record
from mar_edge.files.ownership import FileKind, check_replaceable
from mar_edge.files.syncing import make_folder
from mar_edge.model.checkpoint import CHECKPOINT
from mar_edge.printable import typed
from mar_edge.training.baselines.baseline import BASELINES, BASELINES_KIND
from mar_edge.training.judgement.choice import CHOSEN
from mar_edge.training.state.newest import find_state
from mar_edge.training.state.state_file import (
    PREVIOUS,
    READING_ERRORS,
    SCHEMA,
    STATE,
    TRAINING_STATE,
    read_plain,
)

LAST = "last.safetensors"
BEST = "best.safetensors"
LOG = "log.jsonl"
REPORT = "report.html"
TENSORBOARD = "tensorboard"
LOCK = ".lock"

LOG_SCHEMA = "mar-edge/training-log/1"
LOG_KIND = lines_kind("training log", LOG_SCHEMA, "step")

KINDS = {
    LAST: CHECKPOINT,
    BEST: CHECKPOINT,
    CHOSEN: CHECKPOINT,
    LOG: LOG_KIND,
    BASELINES: BASELINES_KIND,
    REPORT: REPORT_KIND,
    LOCK: FileKind("lock", lambda file: not file.read(1)),
    STATE: TRAINING_STATE,
    PREVIOUS: TRAINING_STATE,
}
"""Files that a run writes and replaces; TensorBoard's files get new names."""


class RunFolder:
    """The folder of a run, for one training at a time.

    Args:
        path: the folder; created if it does not exist.
        identity: what must stay the same for a run to resume, by name.
        fabric: whose processes share the folder; the first one writes.

    Attributes:
        warning: why `resume` did not use the newest state; None if it did.

    Raises:
        OutputError: if the folder cannot be created, another process trains in it, or it contains files of other kinds under
            the names of a run.
    """

    def __init__(self, path: Path, identity: dict[str, str], fabric: Fabric) -> None:
        self.path = path
        self._identity = identity
        self._fabric = fabric
        self.warning: str | None = None
        self._keeps = True
        self._lock = FileLock(path / LOCK, blocking=False)
        try:
            make_folder(path)
            _check_names(path)
            if fabric.is_global_zero:
                self._lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another process is training in {path}. Wait for it, or set trainer.out to another folder"
            ) from error
        except OSError as error:
            raise OutputError(
                f"cannot write to {path}: {error}. Set trainer.out to a folder you can write to"
            ) from error

    @property
    def goes_on(self) -> bool:
        """Whether the folder contains the state of an earlier start."""
        return any((self.path / name).exists() for name in (STATE, PREVIOUS))

    def close(self) -> None:
        """Release the folder to other processes."""
        self._lock.release()

    def save(self, state: dict[str, Any], progress: dict[str, Any]) -> None:
        """Write the state, and keep the newest one before it.

        Args:
            state: modules and optimisers by name.
            progress: plain values.

        Raises:
            OutputError: if it cannot be written.
        """
        target = self.path / STATE
        content = {"schema": SCHEMA, **state, "progress": progress, "identity": self._identity}
        if not self._fabric.is_global_zero:
            self._fabric.save(target, content)  # takes part; only the first process writes
            return
        try:
            with NewFile(target) as new:
                self._fabric.save(new.partial, content)
                new.finish(keep=self.path / PREVIOUS if self._keeps else None)
            self._keeps = True
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise OutputError(
                f"cannot write {target}: {error}. The previous checkpoint is still valid; make room, and the same "
                "command resumes from it"
            ) from error

    def resume(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """Load the newest state that is not damaged into modules and optimisers; see `warning`.

        Returns:
            Its progress; None if there is none.

        Raises:
            CheckpointError: if all are damaged, or it belongs to another run.
        """
        path = self._find()
        if path is None:
            return None
        try:
            self._check(read_plain(path)[0])
            rest = self._fabric.load(path, state, weights_only=True)
        except CheckpointError:
            raise
        except READING_ERRORS as error:
            raise CheckpointError(
                f"{path} is damaged, or not a training state. Move it away to start again from step 0, or set trainer.out to another "
                "folder"
            ) from error
        progress: dict[str, Any] = rest["progress"]
        return progress

    def _find(self) -> Path | None:
        """Let the first process find the state for all, as it reads all of it."""
        found: tuple[Path | None, str | None] | CheckpointError = (None, None)
        if self._fabric.is_global_zero:
            try:
                found = find_state(self.path)
            except CheckpointError as error:
                found = error
        found = self._fabric.broadcast(found)
        if isinstance(found, CheckpointError):
            raise found
        path, self.warning = found
        self._keeps = self.warning is None  # a damaged state must not take the place of the one before it
        return path

    def _check(self, identity: dict[str, str]) -> None:
        names = sorted({*identity, *self._identity})
        other = [
            f"{name} (there {identity.get(name, 'its default')}, here {self._identity.get(name, 'its default')})"
            for name in names
            if identity.get(name) != self._identity.get(name)
        ]
        if other:
            other_folder = self.path.parent / f"{self.path.name or 'run'}-2"
            states = [name for name in (STATE, PREVIOUS) if (self.path / name).exists()]
            raise CheckpointError(
                f"{self.path} contains a run of another recipe: {', '.join(other)}. Set trainer.out to a new folder, as in "
                f"trainer.out={typed(other_folder)}. To begin anew in this one, delete {' and '.join(states)} there"
            )

    def write_log(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rewrite the log, one JSON object per line.

        Raises:
            OutputError: if it cannot be written.
        """
        marked = [row if index else mark_record(row, LOG_SCHEMA) for index, row in enumerate(rows)]
        text = "".join(json.dumps(row) + "\n" for row in marked)
        write_output(self.path / LOG, text.encode(), kind=LOG_KIND)


def _check_names(folder: Path) -> None:
    """Check that a run does not overwrite other files in its folder."""
    for name, kind in KINDS.items():
        check_replaceable(folder / name, kind, advice="Set trainer.out to another folder")
    board = folder / TENSORBOARD
    if board.exists() and not board.is_dir():
        raise OutputError(f"{board} is a file, and a run needs a folder there. Set trainer.out to another folder")
