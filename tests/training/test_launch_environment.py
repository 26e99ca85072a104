"""Variables of launchers and numbers of recipes: an invalid one is reported in one line, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mar_edge.errors import RecipeError, TrainingError
from mar_edge.files.yaml_problems import all_keys
from mar_edge.training import recipe as recipes
from mar_edge.training.fabric import make_fabric
from mar_edge.training.launch_environment import check_environment
from mar_edge.training.recipe import TrainerPart


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"LOCAL_WORLD_SIZE": "abc"}, "LOCAL_WORLD_SIZE is 'abc', expected an integer from 1 to"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE is '0'"),
        ({"LOCAL_WORLD_SIZE": "-1"}, "LOCAL_WORLD_SIZE"),
        ({"LOCAL_WORLD_SIZE": "1" * 5000}, "LOCAL_WORLD_SIZE"),
        ({"WORLD_SIZE": "1e3"}, "WORLD_SIZE"),
        ({"SLURM_PROCID": "x", "SLURM_NTASKS": "2"}, "SLURM_PROCID is 'x'"),
        ({"SLURM_NTASKS": "", "SLURM_PROCID": "0"}, "SLURM_NTASKS is ''"),
        ({"RANK": "\u0663"}, "RANK"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK is 4, and WORLD_SIZE 4"),
    ],
)
def test_invalid_variables_are_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(TrainingError, match=says) as error:
        check_environment(environment)
    assert "unset" in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 300


def test_valid_variables_pass() -> None:
    check_environment(
        {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "12910"}
    )
    check_environment({})


def test_an_incomplete_environment_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    with pytest.raises(TrainingError, match="is incomplete|cannot train"):
        make_fabric(TrainerPart(steps=1, out=tmp_path, accelerator="cpu", devices=2))


def written(folder: Path, key: str, value: Any) -> Path:
    values: dict[str, Any] = {
        "name": "x", "description": "x", "licence": "x", "model": {"size_px": 32}, "trainer": {"steps": 1, "out": "out"},
        "data": {"kind": "videos", "train": "d"},
    }  # fmt: skip
    *above, last = key.split(".")
    inner = values
    for one in above:
        inner = inner.setdefault(one, {})
    inner[last] = value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("value", [10**12, 10**30, -(10**12), float("nan"), float("inf"), 1e300])
def test_no_number_is_unbounded(tmp_path: Path, value: float) -> None:
    refused = 0
    for keys in all_keys(recipes.Recipe):
        key = ".".join(keys)
        if key in ("seed", "data.seed", "data.figures.seed"):
            continue
        try:
            recipes.load(written(tmp_path, key, value))
        except RecipeError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            pytest.fail(f"{key}: {value} is accepted")
    assert refused > 80


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("trainer.devices", 1_000_000, "trainer.devices"),
        ("trainer.workers", 100_000, "trainer.workers: expected a number at most 256"),
        ("model.width", 40_000, "model.width: expected a number at most 16384"),
        ("model.depth", 1_000_000, "model.depth"),
        ("model.size_px", 2_000_000_000, "model.size_px"),
        ("seed", 2**63, "seed: expected a number at most"),
        ("seed", 2**64, "beyond 64 bits"),
        ("data.train", "a\0b", "null character"),
        ("trainer.out", "y" * 5000, "at most 4096 characters"),
    ],
)
def test_bounds_are_named(tmp_path: Path, key: str, value: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipes.load(written(tmp_path, key, value))
