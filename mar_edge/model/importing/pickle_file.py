"""Reads files of `torch.save` without running any code in them.

Training scripts store more than weights: command lines, numpy numbers, paths, configurations, histories. Classes of
libraries for such objects become `Inert` objects, which contain nothing and do nothing; every other class or
function causes the file to be rejected; the message names it.
"""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from mar_edge.errors import CheckpointError

_HARMLESS = (
    "numpy", "pathlib", "collections", "datetime", "enum", "uuid", "decimal", "fractions", "types", "typing",
    "omegaconf", "mmengine", "mmcv", "addict", "yacs", "easydict", "ml_collections", "hydra", "simple_parsing",
    "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "torchmetrics", "timm", "deepspeed",
    "accelerate", "transformers", "fvcore", "iopath", "torch.optim", "torch.torch_version", "torch.amp", "torch.cuda",
    "functools", "copyreg", "copy_reg", "_codecs",  # constructors of such objects
)  # fmt: skip
"""Libraries whose objects are stored with weights. None of their code is run; these names are only not rejected."""

_PLAIN = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("list", "dict", "tuple", "set", "frozenset", "int", "float", "complex", "bool", "str", "bytes",
                 "bytearray", "slice", "range", "object")
}  # fmt: skip

_MODELS = re.compile(r"^torch\.(nn|fx|jit|export|ao)\.|^(timm|transformers)\.models\.|^torchvision\.models")

# exceptions of torch on damaged files, found by experiment
_DAMAGE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError,
    MemoryError, NotImplementedError, SyntaxError, struct.error,
)  # fmt: skip


class Inert:
    """Replaces an object of a foreign class: accepts any state, and discards it."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        """Accept any arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Discard the state."""


def _a_dict(*_: object) -> dict[Any, Any]:
    return {}


def _a_list(*_: object) -> list[Any]:
    return []


def _stand_in(name: str) -> Any:
    """Return the replacement of a class; torch fills only real dicts and lists."""
    if name in ("collections.defaultdict", "collections.deque"):
        return _a_dict if name.endswith("dict") else _a_list
    return OrderedDict if re.search(r"(?i)dict$|cfgnode$", name) else Inert


def read_pickle(file: Path) -> Any:
    """Read a pickle of tensors, on the CPU.

    Raises:
        CheckpointError: if it is damaged, a pickled model or program instead of weights, or names code to run.
    """
    program = _program(file)
    if program:
        raise CheckpointError(f"{file} is {program}, not a checkpoint. {_ADVICE}")
    # the published VideoMAE files store their command line in an argparse.Namespace, which contains only data
    allowed: list[Any] = [argparse.Namespace, *((_stand_in(name), name) for name in _foreign_names(file))]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # on the pickle's protocol, which a damaged file may state wrongly
            values = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"{file} is damaged, or a pickle that would run code{f' ({found[1]})' if found else ''}; "
            "it was not loaded. Ask its author for a .safetensors file"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"{file} cannot be read; it is damaged or not a checkpoint ({type(error).__name__})"
        ) from error
    return values


_ADVICE = "Save only its weights, where its code is available: torch.save(model.state_dict(), 'weights.pth')"


def _foreign_names(file: Path) -> list[str]:
    """Return the classes of a pickle to replace with inert ones.

    Raises:
        CheckpointError: if one of its classes is not harmless.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
    except (*_DAMAGE, pickle.UnpicklingError):  # older than torch 1.6, or damaged: read without replacements
        return []
    names = [name for name in names if name != "argparse.Namespace"]
    model = next((name for name in sorted(names) if _MODELS.match(name)), None)
    if model:
        raise CheckpointError(f"{file} is a pickled model ({model}), which runs code when it is loaded. {_ADVICE}")
    roots = tuple(f"{root}." for root in _HARMLESS)
    harmful = [name for name in sorted(names) if name not in _PLAIN and not name.startswith(roots)]
    if harmful:
        raise CheckpointError(
            f"{file} is a pickle that would run code ({', '.join(harmful[:3])}); it was not loaded. "
            "Ask its author for a .safetensors file"
        )
    return names


def _program(file: Path) -> str | None:
    """Return which kind of program a file is; None if it is not one."""
    try:
        if not zipfile.is_zipfile(file):
            return None
        with zipfile.ZipFile(file) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
            packed = any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None
    if "constants.pkl" in names:
        return "a TorchScript program"
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "a program of torch.export"
    if packed:
        return "a compressed archive"  # torch writes none: unpacked it could take any memory
    return None
