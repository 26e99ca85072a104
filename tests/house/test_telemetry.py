"""Nobody is told that mar-edge runs: no command opens an internet socket or leaves a file where it was not asked to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mar_edge import telemetry
from mar_edge.cli.data import commands as data
from mar_edge.cli.main import app
from mar_edge.runtime.engines import registry
from mar_edge.runtime.engines.registry import engine_version
from tests.conftest import need
from tests.fakes.films import write_films
from tests.fakes.goldens import write_foreign
from tests.fakes.hostile_folder import write_hostile
from tests.fakes.recipes import tiny, write
from tests.fakes.watching import Deeds, watch

COMMANDS = {
    "models": "models",
    "cameras": "cameras",
    "init": "init films/list.csv -o first.yaml --minutes 1 --unjudged",
    "train": "train recipe.yaml",
    "pretrain": "pretrain pretrain.yaml",
    "evaluate": "evaluate run/best.safetensors --data films/list.csv --report report.html",
    "import": "import foreign/model.safetensors -o imported.safetensors",
    "export": "export run/best.safetensors -o tiny.mar --precision fp32",
    "calibrate": "calibrate tiny.mar -o int8.mar --data films --clips 2",
    "inspect": "inspect tiny.mar --png mask.png",
    "data": "data check films/list.csv",
    "data split": "data split films/list.csv --group none --val 0 --test 50 -o lists",
    "profile": "profile tiny.mar --runs 2",
    "verify": "verify tiny.mar --clips 2",
    # after `verify`, so that `auto` chooses from what was measured
    "classify": "classify films/left_0.mp4 --model tiny.mar --json classified.jsonl",
    "record": "record --source films/left_0.mp4 --label left -o recorded --every 0.5 --seconds 0.5 --count 1",
    "run": "run --source films/left_0.mp4 --model tiny.mar --json run.jsonl",
    "run in openvino": "run --source films/left_0.mp4 --model tiny.mar --engine openvino --json openvino.jsonl",
    "run in a window": "run --source films/left_0.mp4 --model tiny.mar --show",
}
"""Every command, each with what those before it made."""

CODE = re.compile(r"\.(py|pyc|so|pth|cfg|ini|conf|xml|env)\b|rc$")
"""Names of files that may hold code, or choose some."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to work in, with films and a recipe, all tiny."""
    need(shutil.which("strace") is not None, "strace is not installed")
    folder = tmp_path / "work"
    films = write_films(folder / "films", 2)
    recipe = tiny(folder, films)
    recipe["data"] |= {"train": "films/list.csv", "val": "films/list.csv", "cache": "cache"}
    recipe["trainer"] |= {"steps": 1, "workers": 1, "out": "run"}
    write(folder / "recipe.yaml", recipe)
    del recipe["data"]["val"]
    recipe["trainer"] |= {"workers": 0, "out": "pretrained"}  # the loader's process is watched in `train`
    write(folder / "pretrain.yaml", {**recipe, "task": "pretrain"})
    return folder


def seen(folder: Path, *command: str | Path, **variables: str) -> Deeds:
    log = Path(tempfile.mkdtemp(dir=folder.parent, prefix="log"))
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


def code_of(deeds: Deeds, folder: Path, hostile: set[Path]) -> set[Path]:
    """Return the files of the working folder that were opened, there or not, and may be code."""
    return {
        path for path in deeds.opened if path.is_relative_to(folder) and (path in hostile or CODE.search(path.name))
    }


def test_no_command_goes_online_leaves_files_or_runs_those_of_a_stranger(golden: Path, folder: Path) -> None:
    need(find_spec("openvino") is not None, "openvino is not installed")
    (folder / "foreign").mkdir()
    write_foreign(golden, "hf_videomae_tiny", folder / "foreign")
    hostile = write_hostile(folder)
    faults: dict[str, Any] = {}
    for name, command in COMMANDS.items():
        deeds = seen(folder, Path(sys.executable).with_name("mar-edge"), *command.split(), DISPLAY="unix:77")
        done = deeds.returncode == 0 or name == "cameras" or "--show needs a display, and unix:77" in deeds.output
        fault = deeds.internet, elsewhere(deeds, folder), code_of(deeds, folder, hostile), "" if done else deeds.output
        if any(fault):
            faults[name] = fault
    assert faults == {}
    assert not list(folder.glob("ran-*"))


def test_every_command_is_watched() -> None:
    commands: Any = typer.main.get_command(app)
    assert set(COMMANDS) >= set(commands.commands)
    assert set(typer.main.get_command(data.app).commands) == {"check", "split"}  # type: ignore[attr-defined]


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
with suppress(OSError):
    open("cv2.py")
"""
    deeds = seen(folder, sys.executable, "-c", code)
    assert folder / "cv2.py" in code_of(deeds, folder, set())
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


def test_what_was_not_switched_off_would_be_seen_at_once(folder: Path) -> None:
    deeds = seen(folder, sys.executable, "-c", "import onnxruntime, openvino")
    home = folder.parent / "home"
    assert any(path.is_relative_to(home / "intel") for path in deeds.written)
    assert deeds.internet


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
