"""Reads what `torch.save` wrote without running anything in it.

Training scripts keep more than weights: command lines, numpy numbers, paths, configurations, histories. Classes of
libraries that such things are made of become `Inert` objects, which hold nothing and do nothing; every other class or
function is a reason to refuse the file, by its name.
"""

from __future__ import annotations

import argparse
import pickle
import re
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
    "functools", "copyreg", "copy_reg", "_codecs",  # how objects of all of these are put together
)  # fmt: skip
"""Libraries whose objects stand beside weights. Nothing of them is run, so these are the names for which no alarm is raised."""

_PLAIN = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("list", "dict", "tuple", "set", "frozenset", "int", "float", "complex", "bool", "str", "bytes",
                 "bytearray", "slice", "range", "object")
}  # fmt: skip

_MODELS = re.compile(r"^torch\.(nn|fx|jit|export|ao)\.|^(timm|transformers)\.models\.|^torchvision\.models")

# what torch raises on damaged files, found by feeding it some
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


class Inert:
    """Stands for an object of a foreign class: takes whatever it is made of, and forgets it."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        """Take any arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget the state."""


def _a_dict(*_: object) -> dict[Any, Any]:
    return {}


def _a_list(*_: object) -> list[Any]:
    return []


def _stand_in(name: str) -> Any:
    """Return what takes the place of a class; torch fills nothing but real dicts and lists."""
    if name in ("collections.defaultdict", "collections.deque"):
        return _a_dict if name.endswith("dict") else _a_list
    return OrderedDict if re.search(r"(?i)dict$|cfgnode$", name) else Inert


def read_pickle(file: Path) -> Any:
    """Read a pickle of tensors, on the CPU.

    Raises:
        CheckpointError: if it is damaged, a whole model or program instead of weights, or names code to run.
    """
    program = _program(file)
    if program:
        raise CheckpointError(f"{file} is {program}, not a checkpoint. {_ADVICE}")
    # the published VideoMAE files keep their command line in an argparse.Namespace, which holds data only
    allowed: list[Any] = [argparse.Namespace, *((_stand_in(name), name) for name in _foreign_names(file))]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"{file} is damaged, or a pickle that would run code{f' ({found[1]})' if found else ''}; "
            "it was not opened further. Ask its author for a .safetensors file"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"{file} cannot be read, it is damaged or no checkpoint ({type(error).__name__})"
        ) from error


_ADVICE = "Save its weights alone, where its code is at hand: torch.save(model.state_dict(), 'weights.pth')"


def _foreign_names(file: Path) -> list[str]:
    """Return the classes of a pickle that are to be inert.

    Raises:
        CheckpointError: if there is one that is not harmless.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
    except (*_DAMAGE, pickle.UnpicklingError):  # older than torch 1.6, or damaged: read without any of them
        return []
    names = [name for name in names if name != "argparse.Namespace"]
    model = next((name for name in sorted(names) if _MODELS.match(name)), None)
    if model:
        raise CheckpointError(f"{file} is a whole pickled model ({model}), which runs code when it is read. {_ADVICE}")
    roots = tuple(f"{root}." for root in _HARMLESS)
    harmful = [name for name in sorted(names) if name not in _PLAIN and not name.startswith(roots)]
    if harmful:
        raise CheckpointError(
            f"{file} is a pickle that would run code ({', '.join(harmful[:3])}); it was not opened further. "
            "Ask its author for a .safetensors file"
        )
    return names


def _program(file: Path) -> str | None:
    """Return what kind of program a file is; None if it is none."""
    if not zipfile.is_zipfile(file):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return None
    if "constants.pkl" in names:
        return "a TorchScript program"
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "a program of torch.export"
    return None
