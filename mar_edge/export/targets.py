"""Target profiles: what to export for a device, and the commands to run; read by `mar-edge export --profile`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mar_edge.errors import OptionError
from mar_edge.export.triton import Serving
from mar_edge.files.regular_file import read_text
from mar_edge.files.yaml_text import parse_yaml
from mar_edge.model_spec import Placement, Precision

BF16_CAPABILITY = 8.0
"""Minimum compute capability for BF16 on NVIDIA GPUs."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Commands(_Part):
    """Commands for the user; `model.safetensors`, `model.mar` and `clips` are placeholders.

    Attributes:
        export: run on the machine with the checkpoint and the `[export]` extra.
        build: on the device, the first use, which builds the engine into the device's cache; None if nothing is
            built, or `export` builds it.
        verify: on the device.
        run: on the device.
    """

    export: str
    build: str | None
    verify: str
    run: str


class Profile(_Part):
    """A device and the settings for it.

    Attributes:
        name: of the file, without .yaml.
        device: its full name.
        proof: what has been tested on it.
        processor, memory, system: its hardware and installed system.
        compute_capability: of an NVIDIA GPU, such as `8.7`; None for others.
        masks: percent of hidden tubelets to export; the first is the one to run.
        precisions: to export; the first is expected to be best until `mar-edge verify` has measured.
        engine: engine that runs the graphs; `auto` if `mar-edge verify` decides between ONNX Runtime and OpenVINO.
        tensorrt: TensorRT's version there; None for other engines.
        module: Python module of TensorRT; None for other engines.
        build: engine that `export` builds, if export runs on the device itself; None to build on first use.
        workspace_mib: maximum memory that a layer may use during an engine build; None for other engines.
        batch: maximum clips in one inference.
        power_mode: description of the power mode.
        power: commands that set it.
        dockerfile: in `export/docker`; None if there is none.
        commands: commands for the user.
        notes: further remarks.
        sources: sources of the facts.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    device: str
    proof: str
    processor: str
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d$")] | None
    memory: str
    system: str
    masks: Annotated[tuple[Literal[0, 25, 50, 75], ...], Field(min_length=1)]
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)]
    engine: Literal["auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
    tensorrt: Annotated[str, Field(pattern=r"^\d+\.\d+$")] | None
    module: Literal["tensorrt", "tensorrt_rtx"] | None
    build: Literal["tensorrt", "tensorrt-rtx"] | None
    workspace_mib: Annotated[int, Field(gt=0)] | None
    batch: Annotated[int, Field(gt=0)]
    power_mode: str
    power: tuple[str, ...]
    dockerfile: str | None
    commands: Commands
    notes: tuple[str, ...]
    sources: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Profile:
        problems = [*self._of_tensorrt(), *self._of_lists()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Engines for which INT8 is placed on this device."""
        return ("tensorrt",) if self.engine.startswith("tensorrt") else ("cpu",)

    @property
    def serving(self) -> Serving:
        """How Triton serves on this device."""
        if self.engine.startswith("tensorrt"):
            return Serving(max_batch=self.batch, workspace_mib=self.workspace_mib or Serving.workspace_mib)
        return Serving(accelerator="none", max_batch=self.batch)

    def _of_tensorrt(self) -> list[str]:
        names = ("tensorrt", "module", "compute_capability", "workspace_mib")
        given = [name for name in names if getattr(self, name) is not None]
        if not self.engine.startswith("tensorrt"):
            given += ["build"] if self.build else []
            return [f"{', '.join(given)} belong to TensorRT, but engine is {self.engine}"] if given else []
        problems = [f"engine {self.engine} needs {name}" for name in names if name not in given]
        if self.build not in (None, self.engine):
            problems.append(f"build is {self.build}, but engine is {self.engine}")
        if self.module and self.module != self.engine.replace("-", "_"):
            problems.append(f"module is {self.module}, but engine is {self.engine}")
        if "bf16" in self.precisions and float(self.compute_capability or BF16_CAPABILITY) < BF16_CAPABILITY:
            problems.append(f"precisions has bf16, which compute capability {self.compute_capability} does not support")
        if "int8-bf16" in self.precisions:
            problems.append("precisions has int8-bf16, which is for CPUs; int8 has an fp16 rest on GPUs")
        return problems

    def _of_lists(self) -> list[str]:
        lists = {"masks": self.masks, "precisions": self.precisions}
        return [f"{name} names {_twice(values)} twice" for name, values in lists.items() if _twice(values)]


def load(path: Path) -> Profile:
    """Read a profile.

    Args:
        path: the YAML file; those of mar-edge are in the folder `export/` of its repository.

    Raises:
        OptionError: if there is none, or it is invalid; names every problem, with the nearest known key for an unknown one.
    """
    try:
        _, values = parse_yaml(read_text(path, encoding="utf-8-sig"))
    except FileNotFoundError as error:
        near = ", ".join(sorted(file.name for file in path.parent.glob("*.yaml")))
        there = f"; available: {near}" if near else "; copy one from the folder export/ of mar-edge's repository"
        raise OptionError(f"no profile {path}{there}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OptionError(f"cannot read the profile {path}: {error}") from error
    if not isinstance(values, dict):
        raise OptionError(f"{path} is not a profile: expected keys and values, got {type(values).__name__}")
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        raise OptionError(f"{path}: " + "; ".join(_explain(problem) for problem in error.errors())) from error


def _twice(values: tuple[object, ...]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if values.count(value) > 1))


def _explain(problem: Any) -> str:
    name = ".".join(str(key) for key in problem["loc"])
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "missing":
        return f"{name} is missing"
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']} (it is {problem['input']!r})"
    fields = Commands.model_fields if problem["loc"][0] == "commands" else Profile.model_fields
    near = difflib.get_close_matches(str(problem["loc"][-1]), fields, n=1)
    return f"unknown key '{name}'; " + (f"did you mean '{near[0]}'?" if near else f"the keys are {', '.join(fields)}")
