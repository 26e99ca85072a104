"""Nobody is told that mar-edge runs: no command opens an internet socket or leaves a file where it was not asked to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

from mar_edge import telemetry
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.runtime.engines import registry
from mar_edge.runtime.engines.registry import engine_version
from tests.conftest import need
from tests.fakes.family import INFO, TINY, write_family
from tests.fakes.films import write_films
from tests.fakes.recipes import tiny
from tests.fakes.watching import Deeds, watch

COMMANDS = {
    # ONNX Runtime's uploader connects some ten seconds after it was loaded
    "run": "run --source demo --max-seconds 13 --json out.jsonl",
    "run in openvino": "run --source demo:realtime=no --engine openvino --json out.jsonl",
    "classify": "classify films/left_0.mp4 --model tiny.mar --json out.jsonl",
    "inspect": "inspect tiny.mar --png mask.png",
    "models": "models",
    "cameras": "cameras",
    "verify": "verify tiny.mar --clips 2",
    "profile": "profile tiny.mar --runs 2",
    "export": "export tiny.safetensors -o new.mar --precision fp32",
    "train": "train recipe.yaml",
    "evaluate": "evaluate tiny.safetensors --data films/list.csv --report report.html",
    "check": "data check films/list.csv",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, a recipe, a checkpoint and a bundle, all tiny."""
    need(shutil.which("strace") is not None, "strace is not installed")
    folder = tmp_path_factory.mktemp("inputs")
    films = write_films(folder / "films", 2)
    recipe = tiny(folder, films)
    recipe["data"] |= {"train": "films/list.csv", "val": "films/list.csv", "cache": "cache"}
    recipe["trainer"] |= {"steps": 2, "workers": 1, "out": "run"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    torch.manual_seed(0)
    checkpoint.save(folder / "tiny.safetensors", build(TINY), TINY, INFO)
    write_family(folder / "tiny.mar", precisions=("fp32", "int8"))
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path) -> Path:
    """A copy to work in."""
    return Path(shutil.copytree(inputs, tmp_path / "work"))


def seen(folder: Path, *command: str | Path, **variables: str) -> Deeds:
    log = folder.parent / "log"
    log.mkdir()
    return watch(command, folder=folder, home=folder.parent / "home", log=log, **variables)


def elsewhere(deeds: Deeds, folder: Path) -> set[Path]:
    """Return what was written outside the working folder, TMPDIR and mar-edge's cache, each of which the docs name."""
    home = folder.parent / "home"
    allowed = [folder, home / "tmp", home / ".cache" / "mar-edge"]
    # plots: matplotlib's list of the fonts that are installed
    allowed += [home / ".cache" / "matplotlib", home / ".config" / "matplotlib"]
    return {
        path
        for path in deeds.written
        if not any(path.is_relative_to(place) or place.is_relative_to(path) for place in allowed)
    }


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_command_goes_online_or_leaves_files(command: str, folder: Path) -> None:
    if "openvino" in command:
        need(find_spec("openvino") is not None, "openvino is not installed")
    deeds = seen(folder, sys.executable, "-m", "mar_edge", *command.split())
    assert deeds.returncode == 0 or command == "cameras", deeds.output
    assert deeds.internet == []
    assert elsewhere(deeds, folder) == set()


def test_an_import_goes_not_online_either(golden: Path, folder: Path) -> None:
    from tests.fakes.goldens import write_foreign

    write_foreign(golden, "hf_videomae_tiny", folder)
    command = ["import", "model.safetensors", "-o", "imported.safetensors"]
    deeds = seen(folder, sys.executable, "-m", "mar_edge", *command)
    assert deeds.returncode == 0, deeds.output
    assert (folder / "imported.safetensors").is_file()
    assert deeds.internet == []
    assert elsewhere(deeds, folder) == set()


def test_the_watch_sees_look_ups_connections_and_files(folder: Path) -> None:
    code = """
import os, socket, threading
from contextlib import suppress
from pathlib import Path
with suppress(OSError):
    socket.create_connection(("192.0.2.1", 443), timeout=0.1)  # an address that nobody has
with suppress(OSError):
    socket.getaddrinfo("mar-edge.invalid", 443)
def leave():
    Path.home().joinpath("id").write_text("1")
    os.rename(Path.home() / "id", Path.home() / "device-id")
thread = threading.Thread(target=leave)
thread.start()
thread.join()
"""
    deeds = seen(folder, sys.executable, "-c", code)
    assert any("192.0.2.1" in call for call in deeds.internet)
    assert any("htons(53)" in call or "htons(0)" in call for call in deeds.internet)
    home = folder.parent / "home"
    assert elsewhere(deeds, folder) == {home / "id", home / "device-id"}


@pytest.mark.parametrize("asked", [None, "", "1", "2", "true"])
def test_whoever_imports_onnx_runtime_after_us_gets_it_silent(folder: Path, asked: str | None) -> None:
    code = "import mar_edge, onnxruntime; onnxruntime.get_all_providers()"
    variables = {} if asked is None else {telemetry.VARIABLE: asked}
    deeds = seen(folder, sys.executable, "-c", code, **variables)
    assert deeds.returncode == 0, deeds.output
    assert deeds.written == set()


@pytest.mark.parametrize(
    ("asked", "becomes"), [(None, "1"), ("", "1"), ("no idea", "1"), ("0", "0"), (" False", " False")]
)
def test_only_an_explicit_no_leaves_it_on(monkeypatch: pytest.MonkeyPatch, asked: str | None, becomes: str) -> None:
    if asked is None:
        monkeypatch.delenv(telemetry.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(telemetry.VARIABLE, asked)
    telemetry.switch_off()
    assert os.environ[telemetry.VARIABLE] == becomes


def test_openvino_loads_without_its_telemetry_which_others_may_still_use() -> None:
    need(find_spec("openvino_telemetry") is not None, "openvino-telemetry is not installed")
    code = """
import sys
from mar_edge.telemetry import import_openvino
core = import_openvino().Core()
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry")))
print("openvino.tools.ovc.telemetry_stub" in sys.modules)
import openvino_telemetry
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\nTrue\n", done.stderr
    assert done.returncode == 0


def test_versions_are_read_without_loading_an_engine() -> None:
    code = """
import sys
from mar_edge.runtime.engines.registry import ENGINES, engine_version
print([engine_version(name) for name in ENGINES if name != "auto"])
print({"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    versions, loaded = done.stdout.splitlines()
    assert metadata.version("onnxruntime") in versions
    assert loaded == "set()"


def test_an_engine_without_metadata_tells_its_own_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as JetPack's TensorRT may come
    monkeypatch.setitem(registry._MODULES, "tensorrt", "tensorrt_of_jetpack")
    monkeypatch.setitem(registry._PACKAGES, "tensorrt", ("tensorrt-of-jetpack",))
    assert engine_version("tensorrt") is None
    (tmp_path / "tensorrt_of_jetpack.py").write_text("__version__ = '10.3.0'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert engine_version("tensorrt") == "10.3.0"
    for name, version in (("tensorrt_of_jetpack", "10.3.0.26"), ("tensorrt_of_pip", "10.9.0")):
        (tmp_path / f"{name}-{version}.dist-info").mkdir()
        (tmp_path / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    assert engine_version("tensorrt") == "10.3.0.26"
    # two packages for one module: the module knows which of them it is
    monkeypatch.setitem(registry._PACKAGES, "tensorrt", ("tensorrt-of-jetpack", "tensorrt-of-pip"))
    assert engine_version("tensorrt") == "10.3.0"
