"""One file with a training's state: how it is written, recognised, and checked before it is used."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from mar_edge.files.lost_content import lost_content
from mar_edge.files.ownership import FileKind
from mar_edge.files.regular_file import open_regular

STATE = "last.state.pt"
PREVIOUS = "previous.state.pt"

SCHEMA = "mar-edge/training-state/1"
"""Value of `schema` in a state."""

_ZIP = b"PK\x03\x04"
_HEAD_BYTES = 16 << 20
"""The pickle, which torch writes before the tensors, is never larger."""


def _is_ours(file: BinaryIO) -> bool:
    """Recognise a state from its start: its end may be missing. Older ones have no schema."""
    head = file.read(_HEAD_BYTES)
    return head.startswith(_ZIP) and (SCHEMA.encode() in head or (b"identity" in head and b"progress" in head))


TRAINING_STATE = FileKind("training state", _is_ours)

READING_ERRORS = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
)
"""Errors of torch for files that are not states."""


class StateIO(TorchCheckpointIO):
    """Writes states directly to their path; Fabric's own writer needs room for a copy in memory and one in TMPDIR."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a state to an existing file.

        Raises:
            OSError: if it cannot be written.
        """
        with open(path, "r+b") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # of torch, when it cannot end a file after an error
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise


def damage(path: Path) -> str | None:
    """Return what is wrong with a state, None if nothing: the files in it have checksums, which torch does not check."""
    try:
        if (lost := lost_content(path)) is not None:
            return lost
        with open(open_regular(path), "rb") as file:
            if file.read(len(_ZIP)) != _ZIP:
                return "is damaged, or not a training state"
            with zipfile.ZipFile(file) as archive:
                if (name := archive.testzip()) is not None:
                    return f"is damaged: the checksum of its part {name} differs"
        read_plain(path)
    except zipfile.BadZipFile:
        return "is damaged: it is cut off, or its end is overwritten"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except READING_ERRORS:
        return "is damaged, or not a training state"
    return None


def read_plain(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Return a state's identity and progress, without reading its tensors.

    Raises:
        READING_ERRORS: if it is damaged.
    """
    state = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    return state["identity"], state["progress"]
