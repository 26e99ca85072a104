"""The rules of the house that no linter knows: sizes of files, functions and folders."""

from __future__ import annotations

import ast
import statistics
import subprocess
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_FILES = 26
MEDIAN_LINES = 130


def tracked(suffix: str = "") -> list[Path]:
    """Return the files of the repository."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.splitlines() if name.endswith(suffix) and (ROOT / name).exists()]


def test_modules_are_short() -> None:
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in tracked(".py")
        if path.is_relative_to(ROOT / "mar_edge")
    }
    assert {str(path): count for path, count in lines.items() if count > MOST_LINES} == {}
    assert statistics.median(lines.values()) <= MEDIAN_LINES


def test_functions_fit_on_a_screen() -> None:
    long = {}
    for path in tracked(".py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > MOST_LINES_OF_A_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = count
    assert long == {}


def test_folders_hold_few_files() -> None:
    files = Counter(path.parent.relative_to(ROOT) for path in tracked())
    assert {str(folder): count for folder, count in files.items() if count > MOST_FILES} == {}
