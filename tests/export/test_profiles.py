"""Target profiles and Dockerfiles: data that reads, commands that parse, files that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mar_edge.cli.main import app
from mar_edge.errors import OptionError
from mar_edge.export.targets import Profile, load
from tests.conftest import ROOT

EXPORT = ROOT / "export"
FILES = sorted(EXPORT.glob("*.yaml"))
DOCKERFILES = sorted((EXPORT / "docker").glob("*.Dockerfile"))
RUN_ON = {"x86-cpu"}
"""Devices that something has run on."""


def values(**changes: Any) -> dict[str, Any]:
    """Return a profile's values, changed; None of `...` leaves a key out."""
    found: dict[str, Any] = yaml.safe_load((EXPORT / "t4.yaml").read_text())
    return {key: value for key, value in (found | changes).items() if value is not ...}


def refused(tmp_path: Path, **changes: Any) -> str:
    """Return what is said of a changed profile."""
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(values(**changes)))
    with pytest.raises(OptionError) as refusal:
        load(path)
    return str(refusal.value)


def parse(command: str) -> dict[str, Any]:
    """Parse a `mar-edge` command with the real command line, without running it; return its values."""
    program, name, *arguments = shlex.split(command)
    assert program == "mar-edge"
    group = typer.main.get_command(app)
    found = group.get_command(typer.Context(group), name)  # type: ignore[attr-defined]
    assert found is not None, f"no command {name}"
    context = found.make_context(name, arguments)
    return dict(context.params)


def test_there_is_a_profile_for_every_target() -> None:
    assert [path.stem for path in FILES] == [
        "a10", "h100", "jetson-agx-orin", "jetson-orin-nano", "jetson-orin-nx", "jetson-thor", "l4", "raspberry-pi-5",
        "t4", "x86-cpu",
    ]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_profile_reads_and_says_what_is_proven(path: Path) -> None:
    profile = load(path)
    assert profile.name == path.stem
    assert (profile.proof == "not run on this device") == (profile.name not in RUN_ON)
    assert profile.dockerfile is None or (EXPORT / "docker" / profile.dockerfile).is_file()
    assert "fp32" in profile.precisions  # what verify compares with
    row = next(line for line in (EXPORT / "README.md").read_text().splitlines() if line.startswith(f"| `{path.name}`"))
    assert f"mask {profile.masks[0]}, {profile.precisions[0]}" in row
    assert profile.tensorrt is None or f"TensorRT {profile.tensorrt}" in row


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_commands_of_a_profile_parse(path: Path) -> None:
    profile = load(path)
    exported = parse(profile.commands.export)
    assert exported["profile"] == Path("export") / path.name
    assert exported["out"] == Path("model.mar")
    assert exported["calibrate"] == exported["data"] == Path("clips")
    assert parse(profile.commands.verify)["bundle"] == "model.mar"
    for command in filter(None, (profile.commands.build, profile.commands.run)):
        run = parse(command)
        assert run["engine"] == profile.engine
        assert run["mask"] == str(profile.masks[0])
        assert run["precision"] in ("auto", profile.precisions[0])
    for command in profile.power:
        assert shlex.split(command)


def test_every_problem_of_a_profile_is_told_at_once(tmp_path: Path) -> None:
    told = refused(tmp_path, masks=[50, 60], precision=["fp16"], batch=0, name=..., commands={"exprot": "x"})
    for part in (
        "masks.1: Input should be 0, 25, 50 or 75 (it is 60)",
        "unknown key 'precision'; did you mean 'precisions'?",
        "batch: Input should be greater than 0 (it is 0)",
        "name is missing",
        "unknown key 'commands.exprot'; did you mean 'export'?",
        "commands.run is missing",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precisions": ["int8-bf16"]}, "precisions has int8-bf16, which is for CPUs"),
        ({"precisions": ["fp16", "bf16"]}, "precisions has bf16, which compute capability 7.5 does not support"),
        ({"tensorrt": None, "workspace_mib": None}, "engine tensorrt needs tensorrt; engine tensorrt needs workspace_mib"),
        ({"build": "tensorrt-rtx"}, "build is tensorrt-rtx, but engine is tensorrt"),
        ({"module": "tensorrt_rtx"}, "module is tensorrt_rtx, but engine is tensorrt"),
        ({"engine": "openvino"}, "tensorrt, module, compute_capability, workspace_mib, build belong to TensorRT"),
        ({"masks": [50, 50]}, "masks names 50 twice"),
        ({"precisions": []}, "precisions: "),
        ({"tensorrt": 10.3}, "tensorrt: Input should be a valid string"),
        ({"colour": "red"}, "unknown key 'colour'; the keys are name, device"),
    ],
)  # fmt: skip
def test_what_a_profile_may_not_say(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert told in refused(tmp_path, **changes)


def test_a_file_that_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no profile .*orin.yaml; available: a10.yaml, h100.yaml"):
        load(EXPORT / "orin.yaml")
    with pytest.raises(OptionError, match=r"copy one from the folder export/"):
        load(tmp_path / "orin.yaml")
    for text, told in (
        ("a: [", "cannot read the profile"),
        ("- a", "is not a profile: expected keys and values, got list"),
    ):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(OptionError, match=told):
            load(tmp_path / "a.yaml")
    with pytest.raises(OptionError, match="cannot read the profile"):
        load(tmp_path)


def test_what_the_line_up_is_made_of() -> None:
    profiles = {path.stem: load(path) for path in FILES}
    assert profiles["t4"].compute_capability == "7.5"
    assert "bf16" not in profiles["t4"].precisions
    orins = [profiles[name] for name in ("jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin")]
    assert {(orin.compute_capability, orin.tensorrt) for orin in orins} == {("8.7", "10.3")}
    assert profiles["jetson-thor"].tensorrt == "10.13"
    # a Jetson's engine is not built where the checkpoint is exported
    assert all(profile.build is None and profile.commands.build for profile in (*orins, profiles["jetson-thor"]))
    assert isinstance(Profile.model_validate(values()), Profile)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_a_dockerfile_names_what_exists(path: Path) -> None:
    text = path.read_text()
    assert "This file has never been built" in text
    steps = instructions(text)
    assert steps[0][0] in ("FROM", "ARG")
    stages = {match[1] for step in steps if step[0] == "FROM" and (match := re.search(r" AS (\w+)$", step[1]))}
    assert set(dict(steps)) <= {"ARG", "FROM", "RUN", "ENV", "COPY", "VOLUME", "WORKDIR", "USER", "ENTRYPOINT"}
    for name, arguments in steps:
        if name == "FROM":
            image, tag = arguments.split(" ")[0].rsplit(":", 1)
            assert "/" in image or image == "python"
            assert tag not in ("", "latest")
        if name == "COPY":
            *sources, _target = arguments.split()
            if sources[0].startswith("--from="):
                assert sources[0].removeprefix("--from=") in stages
                continue
            for source in sources:
                assert (ROOT / source).exists(), source
        if name == "RUN":
            assert " && \\" not in arguments
    assert steps[-2:] == [("USER", "mar-edge"), ("ENTRYPOINT", '["mar-edge"]')]
    installs = [arguments for name, arguments in steps if name == "RUN" and "pip install" in arguments]
    assert installs
    assert all("--constraint /src/constraints" in arguments for arguments in installs)
    commands = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#   docker build")]
    assert commands == [f"docker build -t mar-edge:{path.stem} -f export/docker/{path.name} ."]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_a_dockerfile_installs_extras_that_there_are(path: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    extras = set(re.findall(r"^([a-z-]+) = \[", project.split("[project.optional-dependencies]")[1], re.MULTILINE))
    asked = re.findall(r"/src\[([a-z,-]+)\]", path.read_text())
    assert {extra for group in asked for extra in group.split(",")} <= extras
    # what its own comment tells a person to type is a command of ours
    told = re.search(rf"mar-edge:{path.stem} (?:\\\n#\s+)?((?:run|verify|export) .*)", path.read_text())
    assert told is not None
    parse(f"mar-edge {told[1]}")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]
