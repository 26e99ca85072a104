"""preprocessor_config.json of Hugging Face: checks the normalisation, and reads how pictures are resized."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from mar_edge.errors import CheckpointError
from mar_edge.files.json_text import parse_json
from mar_edge.files.regular_file import read_limited
from mar_edge.model.importing.imported import Imported
from mar_edge.model.mar import MEAN, STD

FILES = ("preprocessor_config.json", "video_preprocessor_config.json")


def check_preprocessing(folder: Path, imported: Imported) -> None:
    """Check the preprocessing configuration of a model, if there is one, and use its resize rule.

    Args:
        folder: the folder of config.json.
        imported: `resize` and `notes` are changed.

    Raises:
        CheckpointError: if it is damaged, or normalises pictures differently from mar-edge.
    """
    file = next((folder / name for name in FILES if (folder / name).exists()), None)
    if file is None:
        return
    try:
        values = parse_json(read_limited(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} does not belong to a model")
    _check_normalisation(file, values)
    imported.resize = _resize(values)
    geometry = imported.config.geometry
    shortest, cropped = _side(values.get("size")), _side(values.get("crop_size"))
    if imported.resize == "center_crop" and shortest and shortest != (cropped or geometry.height_px):
        imported.notes.append(
            f"{file.name} scales the shorter side to {shortest} px before it crops; mar-edge crops the largest square, "
            "so the model gets slightly more of the picture"
        )


def _check_normalisation(file: Path, values: dict[str, Any]) -> None:
    ours: dict[str, object] = {
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(MEAN),
        "image_std": list(STD), "do_flip_channel_order": False, "offset": False,
    }  # fmt: skip
    for key, expected in ours.items():
        value = values.get(key)
        if value is not None and not _same(value, expected):
            raise CheckpointError(
                f"{file} has {key} {value}; mar-edge normalises as with {key} {expected}, so the results would differ"
            )


def _same(value: object, expected: object) -> bool:
    if isinstance(expected, bool):
        return value is expected
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(_same, value, expected))
    return isinstance(value, int | float) and math.isclose(value, float(str(expected)), abs_tol=1e-4)


def _resize(values: dict[str, Any]) -> Literal["center_crop", "stretch"]:
    size = values.get("size")
    whole = isinstance(size, dict) and {"height", "width"} <= size.keys()
    return "stretch" if whole and values.get("do_center_crop") is False else "center_crop"


def _side(value: Any) -> int | None:
    if isinstance(value, dict):
        value = value.get("shortest_edge", value.get("height"))
    return value if isinstance(value, int) else None
