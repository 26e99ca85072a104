"""Finds and reads the files of a checkpoint: one file, a folder, or several shards that belong together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mar_edge.counting import counted, form
from mar_edge.errors import CheckpointError
from mar_edge.files.json_text import parse_json
from mar_edge.files.regular_file import read_limited, why_special
from mar_edge.model.importing.pickle_file import read_pickle

NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""File names of a Hugging Face folder, in the order of the search."""

_SHARD = re.compile(r"^(?P<name>.+)-(?P<number>\d+)-of-(?P<count>\d+)(?P<ending>\.\w+)$")
_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


def locate(path: Path) -> list[Path]:
    """Find the files with the weights.

    Args:
        path: a file, an index of shards, one shard, or a folder of Hugging Face.

    Returns:
        One file, or all shards.

    Raises:
        CheckpointError: if there are none, or shards are missing.
    """
    if path.is_dir():
        path = _in_folder(path)
    if why := why_special(path):
        raise CheckpointError(f"{path} {why}; name a file with weights")
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}")
    if path.name.endswith(".index.json"):
        return _indexed(path)
    return _with_siblings(path)


def read(files: list[Path]) -> Any:
    """Read files unchanged: a dict of tensors, or the object in which a training script stored one.

    Raises:
        CheckpointError: if a file is damaged, would run code, or is not a checkpoint.
    """
    if len(files) == 1:
        return _read(files[0])
    state: dict[str, Tensor] = {}
    for file in files:
        part = _read(file)
        if not isinstance(part, dict):
            raise CheckpointError(f"{file} is a part of a checkpoint, but contains no tensors")
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise CheckpointError(f"{file} has {twice[0]}, which is also in another part; download the parts again")
        state |= part
    return state


def _read(file: Path) -> Any:
    with file.open("rb") as opened:
        start = opened.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{file} is a Git LFS pointer, not the weights themselves. Run: git lfs pull")
    if file.suffix != ".safetensors" and start[8:9] != b"{":
        return read_pickle(file)
    try:
        with safe_open(file, framework="pt") as opened:
            if (opened.metadata() or {}).get("format", "").startswith("mar-edge"):
                raise CheckpointError(f"{file} is already a checkpoint of mar-edge; use it without import")
            return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} cannot be read; it is damaged or not a checkpoint ({type(error).__name__})"
        ) from error


def _in_folder(folder: Path) -> Path:
    found = next((folder / name for name in NAMES if (folder / name).is_file() or why_special(folder / name)), None)
    if found is not None:
        return found
    names = sorted(entry.name for entry in folder.iterdir())
    if any(name == "zero_to_fp32.py" or name.startswith("mp_rank_") for name in names):
        raise CheckpointError(
            f"{folder} is a checkpoint of DeepSpeed, in parts. Join them: python zero_to_fp32.py {folder} weights, "
            "and import the result"
        )
    if any(name.endswith(".distcp") for name in names):
        raise CheckpointError(
            f"{folder} is a distributed checkpoint of torch, in parts. Join them: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pth"
        )
    shard = next((name for name in names if _SHARD.match(name) and name.endswith(_WEIGHTS)), None)
    if shard is not None:  # the index is missing
        return folder / shard
    weights = [name for name in names if name.endswith(_WEIGHTS)]
    hint = f"; it contains {', '.join(weights[:5])}: give one of these" if weights else ""
    raise CheckpointError(
        f"{folder} contains neither {' nor '.join((NAMES[0], NAMES[2]))}, complete or in shards{hint}"
    )


def _indexed(index: Path) -> list[Path]:
    """Return the shards that an index names."""
    try:
        places = parse_json(read_limited(index))["weight_map"].values()
        names = sorted({str(name) for name in places})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not an index of shards, or is damaged ({type(error).__name__})") from error
    if not names or any(Path(name).name != name for name in names):
        raise CheckpointError(f"{index} is not an index of shards: it names no files in its folder")
    return _all_there(index.parent, names, index.name)


def _with_siblings(file: Path) -> list[Path]:
    """Return a file, or all shards if it is one of them."""
    shard = _SHARD.match(file.name)
    if shard is None:
        return [file]
    index = file.with_name(f"{shard['name']}{shard['ending']}.index.json")
    if index.is_file():
        return _indexed(index)
    digits = len(shard["number"])
    names = [
        f"{shard['name']}-{number:0{digits}d}-of-{shard['count']}{shard['ending']}"
        for number in range(1, int(shard["count"]) + 1)
    ]
    return _all_there(file.parent, names, file.name)


def _all_there(folder: Path, names: list[str], asked: str) -> list[Path]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder / asked} belongs to a checkpoint in {counted(len(names), 'part')}, of which {', '.join(missing[:3])} "
            f"{form(len(missing), 'is', 'are')} missing. Put all parts into {folder}"
        )
    return [folder / name for name in names]
