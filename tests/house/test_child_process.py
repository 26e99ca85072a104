"""Processes that mar-edge starts take no code from the working folder; on Python 3.10 too, whose start is tested here by its option."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mar_edge import child_process
from tests.conftest import ROOT
from tests.fakes.hostile_folder import write_hostile

OPTIONS = ["-I"] if sys.version_info < (3, 11) else ["-P", "-I"]

PROGRAM = """
import sys
from concurrent.futures import ProcessPoolExecutor
from mar_edge import child_process
child_process.SAFE = sys.argv[1]

if __name__ == "__main__":
    import os
    with ProcessPoolExecutor(1, child_process.spawn_context()) as pool:  # with a lock, so with a resource tracker
        assert pool.submit(os.getenv, "PYTHONPATH").result() == os.environ.get("PYTHONPATH")
        assert pool.submit(abs, -3).result() == 3
        print(pool.submit(eval, "__import__('beside').HERE").result())
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder, as the working folder."""
    folder = tmp_path / "hostile"
    write_hostile(folder)
    monkeypatch.chdir(folder)
    for variable in (child_process.VARIABLE, child_process.LIBRARIES):  # other tests of this process have imported cv2
        monkeypatch.delenv(variable, raising=False)
    return folder


def beside(folder: Path) -> Path:
    """A folder with a module that is the user's own."""
    folder.mkdir(exist_ok=True)
    (folder / "beside.py").write_text("HERE = 'the right one'\n")
    return folder


def ran(hostile: Path) -> list[str]:
    return sorted(path.name for path in hostile.glob("ran-*"))


def test_a_plain_start_would_run_what_lies_there(hostile: Path) -> None:
    subprocess.run([sys.executable, "-c", "import json"], capture_output=True)
    assert ran(hostile) == ["ran-json"]


@pytest.mark.parametrize("option", OPTIONS)
def test_code_runs_with_the_paths_of_this_process(
    option: str, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "SAFE", option)
    monkeypatch.setenv(child_process.LIBRARIES, "/opt/lib::")  # as `import cv2` leaves it
    monkeypatch.syspath_prepend(beside(tmp_path / "app"))
    code = "import beside, json, os, mar_edge; print(beside.HERE, *sys.argv[1:], os.environ['LD_LIBRARY_PATH'])"
    done = child_process.run_python(code, "a b", "c")
    assert done.stdout == "the right one a b c /opt/lib\n", done.stderr
    assert done.returncode == 0
    assert ran(hostile) == []


@pytest.mark.parametrize("option", OPTIONS)
def test_spawned_processes_and_their_tracker_do_not_look_there(option: str, hostile: Path, tmp_path: Path) -> None:
    app = beside(tmp_path / "app")
    (app / "app.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, app / "app.py", option], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "the right one\n", done.stderr
    assert done.stderr == ""
    assert ran(hostile) == []


def test_multiprocessing_is_as_before_afterwards() -> None:
    from multiprocessing import util

    before = util._args_from_interpreter_flags  # type: ignore[attr-defined]
    assert child_process.spawn_context().get_start_method() == "spawn"
    assert util._args_from_interpreter_flags is before  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 knows no such variable")
def test_processes_of_other_libraries_do_not_look_there_either(hostile: Path) -> None:
    code = """
import subprocess, sys
from mar_edge.child_process import protect_children
protect_children()
import cv2
subprocess.run([sys.executable, "-c", "import json, os; print(os.environ['LD_LIBRARY_PATH'])"], check=True)
"""
    environment = {name: value for name, value in os.environ.items() if name != child_process.LIBRARIES}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(Path(entry).is_absolute() for entry in done.stdout.strip().split(":"))
    assert ran(hostile) == []


def test_python_m_leaves_the_working_folder_before_libraries_load(tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    write_hostile(hostile, ["cv2", "json", "numpy", "pydantic", "typer"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "mar_edge", "models"], cwd=hostile, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ran(hostile) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, None), ("", ""), ("/a", "/a"), (":", ""), ("/a:", "/a"), (":/a", "/a"), ("/a::/b", "/a:/b")],
)
def test_empty_entries_of_the_library_path_go(
    before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(child_process.LIBRARIES, before or "")
    if before is None:
        monkeypatch.delenv(child_process.LIBRARIES)
    child_process.clean_library_path()
    assert os.environ.get(child_process.LIBRARIES) == after


def test_a_checkout_keeps_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(child_process.__file__).parents[1]
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])
    before = list(sys.path)
    child_process.leave_working_folder()
    assert sys.path == before
    monkeypatch.delenv(child_process.VARIABLE, raising=False)
    monkeypatch.setenv(child_process.LIBRARIES, "/a")
    child_process.protect_children()
    assert child_process.VARIABLE not in os.environ


def test_settings_of_plots_in_the_working_folder_are_not_read(hostile: Path, tmp_path: Path) -> None:
    (hostile / "matplotlibrc").write_text("figure.facecolor: red\n")
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from mar_edge.evaluation.plot_style import new_figure
print(new_figure(1, 1).get_facecolor(), os.path.exists("matplotlibrc"))
"""
    (tmp_path / "plot.py").write_text(code)
    done = subprocess.run([sys.executable, tmp_path / "plot.py"], capture_output=True, text=True)
    assert done.stdout == "(1.0, 1.0, 1.0, 1.0) True\n", done.stderr
