"""`constraints-lowest.txt` holds what pyproject.toml declares as the lowest versions."""

from __future__ import annotations

import re

from packaging.requirements import Requirement

from tests.conftest import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
NOT_TESTED = {
    "lightning-fabric", "onnxscript", "openvino", "pycuda", "rosbags", "tensorboard", "tensorrt", "tensorrt-rtx-cu12", "torch",
}  # fmt: skip


def pins(name: str) -> dict[str, str]:
    """Return the versions of a file of constraints."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if line and not line.startswith("#"))


def declared() -> list[Requirement]:
    """Return what a user may install: the dependencies and the extras, without those for developers."""
    part = PROJECT.split("\ndependencies = [")[1].split("\ndocs = [")[0]
    lines = [line.split("  #")[0] for line in part.splitlines() if not line.lstrip().startswith("#")]
    found = [
        Requirement(text) for line in lines for text in re.findall(r"\"([a-z].*?)\"(?=[,\]])", line) if ">=" in text
    ]
    assert len(found) > 15
    return found


def floor(requirement: Requirement) -> str:
    """Return the lowest version of a requirement."""
    return next(part.version for part in requirement.specifier if part.operator == ">=")


def test_the_lowest_versions_are_those_declared() -> None:
    lowest = {}
    for requirement in declared():
        if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.10", "extra": ""}):
            lowest[requirement.name] = floor(requirement)
    tested = pins("constraints-lowest.txt")
    assert {name: version for name, version in lowest.items() if name not in tested} == {
        name: version for name, version in lowest.items() if name in NOT_TESTED
    }
    padded = {name: (version + ".0.0").split(".")[:3] for name, version in tested.items() if name in lowest}
    assert padded == {name: (lowest[name] + ".0.0").split(".")[:3] for name in padded}


def test_the_pinned_versions_are_allowed() -> None:
    pinned = pins("constraints.txt")
    for requirement in declared():
        name = requirement.name.replace("tensorrt-rtx-cu12", "tensorrt_rtx_cu12").replace("pyyaml", "PyYAML")
        if name in pinned and (requirement.marker is None or requirement.marker.evaluate({"python_version": "3.11"})):
            assert requirement.specifier.contains(pinned[name]), requirement


def test_what_has_known_holes_is_excluded() -> None:
    for text in ("torch==2.9.1", "onnx==1.20.1", "filelock==3.20.2", "onnxruntime==1.18.1", "opencv-python==4.11.0.86"):
        name, version = text.split("==")
        assert not any(one.specifier.contains(version) for one in declared() if one.name == name), text
