"""The package in the environment of a robot, without torch, and in that of a developer."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import mar_edge
from tests.conftest import ROOT, need
from tests.fakes.environment import BARE


@pytest.fixture(params=["bare", "full"])
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of either environment."""
    if request.param == "full":
        return Path(sys.executable)
    need(BARE.exists(), f"no environment without torch at {BARE}; make test makes it")
    return BARE


def run(python: Path, code: str) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def best_s(command: list[str | Path]) -> float:
    """Shortest of five runs: what the command itself needs, without what else the machine does."""
    times = []
    for _ in range(5):
        began_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd="/")
        times.append(time.perf_counter() - began_s)
    return min(times)


def test_the_bare_environment_has_no_torch() -> None:
    need(BARE.exists(), f"no environment without torch at {BARE}; make test makes it")
    assert (
        run(BARE, "from importlib.util import find_spec; print(find_spec('torch'), find_spec('onnx'))") == "None None\n"
    )


def test_importing_is_quick_and_pulls_in_no_torch(python: Path) -> None:
    code = "import sys, mar_edge; print(sorted({'torch', 'cv2', 'onnxruntime', 'av'} & set(sys.modules)))"
    assert run(python, code) == "[]\n"
    empty_s = best_s([python, "-c", "pass"])
    assert best_s([python, "-c", "import mar_edge"]) - empty_s < 0.2


def test_using_the_runtime_pulls_in_no_torch(python: Path) -> None:
    code = """
import sys, numpy, mar_edge
session = mar_edge.load("egomotion").session()
results = [session.push(numpy.zeros((48, 64, 3), "uint8"), index / 10) for index in range(20)]
print(sum(result is not None for result in results), "torch" in sys.modules)
"""
    assert run(python, code) == "10 False\n"


def test_help_is_quick(python: Path) -> None:
    assert best_s([python, "-m", "mar_edge", "--help"]) < 0.5


def test_every_module_of_the_runtime_imports(python: Path) -> None:
    code = """
import importlib, pkgutil, mar_edge.runtime, mar_edge.cli
for package in (mar_edge.runtime, mar_edge.cli):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
import mar_edge.bundle, mar_edge.masking
print("fine")
"""
    assert run(python, code) == "fine\n"


def test_a_missing_extra_is_one_line_with_the_command() -> None:
    need(BARE.exists(), f"no environment without torch at {BARE}; make test makes it")
    recipe = str(ROOT / "training" / "egomotion.yaml")
    for arguments, extra in (
        (["train", recipe], "train"),
        (["pretrain", recipe], "train"),
        (["evaluate", "a.safetensors", "--data", "list.csv"], "train"),
        (["import", "a.pth", "-o", "b.safetensors"], "train"),
        (["export", "a.safetensors", "-o", "b.mar"], "export"),
    ):
        done = subprocess.run([BARE, "-m", "mar_edge", *arguments], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr == f"mar-edge: torch is not installed. Run: pip install 'mar-edge[{extra}]'\n"


def test_the_public_names_are_these() -> None:
    assert sorted(mar_edge.__all__) == [
        "Bundle", "BundleError", "CameraSource", "CheckpointError", "ClassRule", "ClipResult", "Connection", "DataError", "DemoSource", "DialOptions", "Engine", "EngineError",
        "Evaluation", "Event", "EventClips", "EventEnded", "EventRule", "EventStarted", "ExportError", "Frame", "FrameError", "Geometry", "GeometryError", "GraphSpec", "JsonLinesSink",
        "MarEdgeError", "MissingExtraError", "Model", "ModelConfig", "ModelSpec", "NetworkSource", "Notice", "OptionError", "OutputError", "Prediction",
        "Reading", "RecipeError", "Record", "Recording", "Runner", "Serving", "Session", "SessionState", "ShownFrame", "Sink", "Source", "SourceError", "SourceTimeoutError", "Stream",
        "StreamStatus", "TrainingError", "Warnings", "evaluate", "load", "open_bundle", "open_metrics", "open_model", "open_mqtt", "open_source", "open_webhook", "preset", "read_videos", "write_triton",
    ]  # fmt: skip
    for name in set(mar_edge.__all__) - {"Event", "Record"}:  # aliases
        assert getattr(mar_edge, name).__name__ == name
    assert mar_edge.Event == mar_edge.EventStarted | mar_edge.EventEnded
    assert (
        mar_edge.Record
        == mar_edge.Prediction | mar_edge.Event | mar_edge.Notice | mar_edge.ShownFrame | mar_edge.StreamStatus
    )
    with pytest.raises(AttributeError, match="no attribute 'loads'"):
        _ = mar_edge.loads


def test_every_error_is_a_mar_edge_error_and_is_drawn_in_the_tree() -> None:
    from mar_edge import errors

    named = [
        value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    for error in named:
        assert issubclass(error, errors.MarEdgeError)
        assert error.__name__ in str(errors.__doc__)


@pytest.mark.parametrize("name", ["mar_edge.runtime.sinks.mp4.h264", "mar_edge.datasets.recording.label_folder"])
def test_opencv_loads_before_pyav(name: str) -> None:
    """Otherwise OpenCV's windows find the libxcb of PyAV's wheel, and opening one never returns."""
    code = f"import sys, {name}; loaded = [one for one in sys.modules if one in ('av', 'cv2')]; sys.exit(loaded != ['cv2', 'av'])"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
