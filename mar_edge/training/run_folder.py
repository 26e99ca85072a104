"""The folder of a training run: what the next start goes on from, and the checkpoints that others use."""

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

LAST = "last.safetensors"
BEST = "best.safetensors"
STATE = "last.state.pt"
LOG = "log.jsonl"
REPORT = "report.html"
TENSORBOARD = "tensorboard"


def earlier_passes(path: Path) -> tuple[int, int] | None:
    """Return the batch and the forward passes a step of an earlier start in a folder; None if they are not known."""
    try:
        progress = torch.load(path / STATE, weights_only=True, mmap=True, map_location="cpu")["progress"]
        batch, passes = progress["passes"]
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, pickle.UnpicklingError):
        return None  # there is none, it is damaged, which `resume` reports, or of an earlier version
    return int(batch), int(passes)


class RunFolder:
    """The folder of a run, for one training at a time.

    Args:
        path: the folder; made if it is not there.
        identity: what must stay the same for a run to go on, by name.
        fabric: whose processes share the folder; the first one writes.

    Raises:
        OutputError: if the folder cannot be made, or another process trains in it.
    """

    def __init__(self, path: Path, identity: dict[str, str], fabric: Fabric) -> None:
        self.path = path
        self._identity = identity
        self._fabric = fabric
        self._lock = FileLock(path / ".lock", blocking=False)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if fabric.is_global_zero:
                self._lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another process trains in {path}. Wait for it, or set trainer.out to another folder"
            ) from error
        except OSError as error:
            raise OutputError(
                f"cannot write to {path}: {error}. Set trainer.out to a folder you can write to"
            ) from error

    @property
    def goes_on(self) -> bool:
        """Whether an earlier start left a state here."""
        return (self.path / STATE).exists()

    def close(self) -> None:
        """Let others train here."""
        self._lock.release()

    def save(self, state: dict[str, Any], progress: dict[str, Any]) -> None:
        """Write the state; the one that is there survives until the new one is whole.

        Args:
            state: modules and optimisers by name.
            progress: plain values.

        Raises:
            OutputError: if it cannot be written.
        """
        target = self.path / STATE
        partial = target.with_name(STATE + ".partial")
        try:
            self._fabric.save(partial, {**state, "progress": progress, "identity": self._identity})
            if self._fabric.is_global_zero:
                os.replace(partial, target)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            with suppress(OSError):
                partial.unlink()
            raise OutputError(
                f"cannot write {target}: {error}. The checkpoint before it is still whole; make room, and the same "
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
            raise CheckpointError(f"{path} is damaged; delete the folder {self.path} to start anew") from error
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
                f"{self.path} holds a run of another recipe: {', '.join(other)}. Set trainer.out to a new folder, or "
                "delete that one"
            )

    def write_log(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write the log anew, one JSON object a line.

        Raises:
            OutputError: if it cannot be written.
        """
        path = self.path / LOG
        try:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error}") from error
