"""The documents say what the code says: generated pages are up to date, code runs against the public API."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import mar_edge
from tests.conftest import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
EXAMPLES = sorted((ROOT / "runtime").glob("*.py"))


def code_blocks(language: str) -> Iterator[tuple[Path, str]]:
    """Give the fenced blocks of a language in all pages."""
    for page in PAGES:
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            yield page, block


def python_code() -> Iterator[tuple[str, str]]:
    """Give all Python that users are shown, with where it stands."""
    for page, block in code_blocks("python"):
        yield str(page.relative_to(ROOT)), block
    for example in EXAMPLES:
        yield str(example.relative_to(ROOT)), example.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("script", "page"), [("recipe_reference.py", "reference/recipe.md"), ("cli_reference.py", "reference/cli.md")]
)
def test_generated_pages_are_up_to_date(script: str, page: str) -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "make" / script))["reference"]()
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == reference, f"run: python docs/make/{script}"


def test_every_key_of_a_recipe_is_documented() -> None:
    written = (ROOT / "docs" / "reference" / "recipe.md").read_text(encoding="utf-8")
    assert not [line for line in written.splitlines() if line.startswith("| `") and line.endswith("|  |")]


def test_documents_import_public_names_alone() -> None:
    found = 0
    for place, code in python_code():
        for node in ast.walk(ast.parse(code)):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mar_edge":
                assert node.module == "mar_edge", f"{place} imports from {node.module}, which is private"
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names if alias.name.split(".")[0] == "mar_edge"]
                assert set(modules) <= {"mar_edge"}, f"{place} imports {modules}, which is private"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mar_edge":
                names = [node.attr]
            for name in names:
                found += 1
                assert name in mar_edge.__all__, f"{place} uses mar_edge.{name}, which there is not"
    assert found > 10


def test_names_in_the_text_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`mar_edge\.(?!__)([A-Za-z_]+)", page.read_text(encoding="utf-8")):
            assert name in mar_edge.__all__, f"{page.name} names mar_edge.{name}"


def test_files_in_the_text_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:mar_edge|tests|benchmarks|training|export|runtime|docs)/[\w./-]+\.\w+)`",
            page.read_text(encoding="utf-8"),
        ):
            assert (ROOT / name).exists() or "bundle" in name, f"{page.name} names {name}"


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    page += (ROOT / "docs" / "reference" / "manifest.md").read_text(encoding="utf-8")
    documented = {line.rsplit(".", 1)[-1] for line in re.findall(r"^::: (\S+)", page, re.M)}
    errors = {name for name in mar_edge.__all__ if name.endswith("Error")}  # by one line for all
    assert documented >= set(mar_edge.__all__) - errors
