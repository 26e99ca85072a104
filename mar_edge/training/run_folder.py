"""The folder of a training run: the state that the next start resumes from, and the checkpoints."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from mar_edge.errors import CheckpointError, OutputError
from mar_edge.evaluation.report_style import REPORT as REPORT_KIND
from mar_edge.files.atomic_file import write_output
from mar_edge.files.marks import lines_kind, mark_record
from mar_edge.files.ownership import FileKind, check_replaceable
from mar_edge.model.checkpoint import CHECKPOINT

LAST = "last.safetensors"
BEST = "best.safetensors"
STATE = "last.state.pt"
LOG = "log.jsonl"
REPORT = "report.html"
TENSORBOARD = "tensorboard"
LOCK = ".lock"
PARTIAL = f".{STATE}.mar-edge-partial"

LOG_SCHEMA = "mar-edge/training-log/1"
LOG_KIND = lines_kind("training log", LOG_SCHEMA, "step")

KINDS = {
    LAST: CHECKPOINT,
    BEST: CHECKPOINT,
    LOG: LOG_KIND,
    REPORT: REPORT_KIND,
    LOCK: FileKind("lock", lambda file: not file.read(1)),
}
"""Files that a run writes and replaces; the state is read before it is replaced, and TensorBoard's files get new names."""


def earlier_passes(path: Path) -> tuple[int, int] | None:
    """Return the batch and the forward passes per step of an earlier start in a folder; None if they are unknown."""
    try:
        progress = torch.load(path / STATE, weights_only=True, mmap=True, map_location="cpu")["progress"]
        batch, passes = progress["passes"]
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, pickle.UnpicklingError):
        return None  # there is none, it is damaged, which `resume` reports, or of an earlier version
    return int(batch), int(passes)


class RunFolder:
    """The folder of a run, for one training at a time.

    Args:
        path: the folder; created if it does not exist.
        identity: what must stay the same for a run to resume, by name.
        fabric: whose processes share the folder; the first one writes.

    Raises:
        OutputError: if the folder cannot be created, another process trains in it, or it contains files of other kinds under
            the names of a run.
    """

    def __init__(self, path: Path, identity: dict[str, str], fabric: Fabric) -> None:
        self.path = path
        self._identity = identity
        self._fabric = fabric
        self._lock = FileLock(path / LOCK, blocking=False)
        try:
            path.mkdir(parents=True, exist_ok=True)
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
        return (self.path / STATE).exists()

    def close(self) -> None:
        """Release the folder to other processes."""
        self._lock.release()

    def save(self, state: dict[str, Any], progress: dict[str, Any]) -> None:
        """Write the state; the old one is kept until the new one is complete.

        Args:
            state: modules and optimisers by name.
            progress: plain values.

        Raises:
            OutputError: if it cannot be written.
        """
        target = self.path / STATE
        partial = target.with_name(PARTIAL)
        try:
            self._fabric.save(partial, {**state, "progress": progress, "identity": self._identity})
            if self._fabric.is_global_zero:
                os.replace(partial, target)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            with suppress(OSError):
                partial.unlink()
            raise OutputError(
                f"cannot write {target}: {error}. The previous checkpoint is still valid; make room, and the same "
                "command resumes from it"
            ) from error

    def resume(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """Load the state of an earlier start into modules and optimisers.

        Returns:
            Its progress; None if there is none.

        Raises:
            CheckpointError: if it is damaged or belongs to another run.
        """
        path = self.path / STATE
        if not self.goes_on:
            return None
        try:
            identity = torch.load(path, weights_only=True, mmap=True, map_location="cpu")["identity"]
            self._check(identity)
            rest = self._fabric.load(path, state, weights_only=True)
        except CheckpointError:
            raise
        except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is damaged, or not a training state. Move it away to start again from step 0, or set trainer.out to another "
                "folder"
            ) from error
        progress: dict[str, Any] = rest["progress"]
        return progress

    def _check(self, identity: dict[str, str]) -> None:
        names = sorted({*identity, *self._identity})
        other = [
            f"{name} (there {identity.get(name, 'its default')}, here {self._identity.get(name, 'its default')})"
            for name in names
            if identity.get(name) != self._identity.get(name)
        ]
        if other:
            raise CheckpointError(
                f"{self.path} contains a run of another recipe: {', '.join(other)}. Set trainer.out to a new folder, or "
                "delete that one"
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
    for name in (STATE, PARTIAL):
        if (folder / name).is_dir():
            raise OutputError(f"{folder / name} is a folder. Set trainer.out to another folder")
    board = folder / TENSORBOARD
    if board.exists() and not board.is_dir():
        raise OutputError(f"{board} is a file, and a run needs a folder there. Set trainer.out to another folder")
