"""The documents say what the code says: generated pages are up to date, code runs against the public API."""

from __future__ import annotations

import ast
import html
import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import yaml

import mar_edge
import mar_edge.testing
from mar_edge.training.recipe import load
from tests.conftest import ROOT
from tests.fakes.step_graphs import write_steps
from tests.fakes.video_files import write_video

ROOMS = ("benchmarks", "calibration", "export", "runtime", "training")
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / room / "README.md" for room in ROOMS)])
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
    ("script", "of", "page"),
    [
        ("settings_reference.py", ["recipe"], "reference/recipe.md"),
        ("settings_reference.py", ["site"], "reference/site.md"),
        ("cli_reference.py", [], "reference/cli.md"),
    ],
)
def test_generated_pages_are_up_to_date(script: str, of: list[str], page: str) -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "make" / script))["reference"](*of)
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == reference, f"run: python docs/make/{script}"


@pytest.mark.parametrize("page", ["recipe.md", "site.md"])
def test_every_key_of_a_file_is_documented(page: str) -> None:
    written = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert not [line for line in written.splitlines() if line.startswith("| `") and line.endswith("|  |")]


def test_documents_import_public_names_alone() -> None:
    found = 0
    for place, code in python_code():
        for node in ast.walk(ast.parse(code)):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module == "mar_edge.testing":
                for alias in node.names:
                    assert hasattr(mar_edge.testing, alias.name), f"{place} imports {alias.name}, which there is not"
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mar_edge":
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
            assert name in (*mar_edge.__all__, "testing"), f"{page.name} names mar_edge.{name}"


def test_files_in_the_text_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:mar_edge|tests|benchmarks|training|export|runtime|calibration|docs)/[\w./-]+\.\w+)`",
            page.read_text(encoding="utf-8"),
        ):
            assert (ROOT / name).exists() or "bundle" in name, f"{page.name} names {name}"


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    page += (ROOT / "docs" / "reference" / "manifest.md").read_text(encoding="utf-8")
    documented = {line.rsplit(".", 1)[-1] for line in re.findall(r"^::: (\S+)", page, re.M)}
    errors = {name for name in mar_edge.__all__ if name.endswith("Error")}  # by one line for all
    assert documented >= set(mar_edge.__all__) - errors


def test_recipes_in_the_text_can_be_trained(tmp_path: Path) -> None:
    found = 0
    for page, block in code_blocks("yaml"):
        if "trainer:" in block:
            found += 1
            (tmp_path / "recipe.yaml").write_text(block, encoding="utf-8")
            load(tmp_path / "recipe.yaml", [])
            assert f"mar-edge train {yaml.safe_load(block)['name']}.yaml" in page.read_text(encoding="utf-8")
    assert found


def test_every_page_is_in_the_site() -> None:
    # its tags for icons are no plain YAML, and none is in the navigation
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"(\S+\.md)$", navigation, re.M)
    there = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(named) == sorted(there)


def test_every_guide_says_what_is_not_proven() -> None:
    for page in [ROOT / "docs" / "quickstart.md", *(ROOT / "docs" / "how-to").glob("*.md")]:
        assert "\n## What is not proven\n" in page.read_text(encoding="utf-8"), page.name


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `moves.mar` is the streaming model that the pages use."""
    folder = tmp_path_factory.mktemp("moves")
    write_steps(folder / "moves.mar", masks=(50, 75))
    return folder


def test_the_code_for_a_step_graph_does_what_the_engine_does(moves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(moves)
    page = ROOT / "docs" / "explanation" / "streaming.md"
    (block,) = [block for where, block in code_blocks("python") if where == page]
    names: dict[str, Any] = {}
    exec(compile(block, str(page), "exec"), names)
    engine = mar_edge.load("moves.mar", engine="onnxruntime", mask=50).engine
    steps = np.random.default_rng(0).integers(0, 256, (70, 1, 2, 32, 32, 3), np.uint8)  # the clock begins again
    state = engine.new_state()
    for number, frames in enumerate(steps):
        if (
            20 <= number < 23 or 30 <= number < 45
        ):  # steps that did not run; the second time all that is kept is too old
            state.skip()
        else:
            np.testing.assert_allclose(names["run_step"](number, frames), engine.step(frames, [state]), atol=1e-5)


def test_the_code_for_a_session_of_a_streaming_model_runs(
    moves: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(moves)
    page = ROOT / "docs" / "how-to" / "streaming.md"
    (block,) = [block for where, block in code_blocks("python") if where == page]
    write_video(moves / "clip.mp4", [number / 10 for number in range(40)])
    names: dict[str, Any] = {}
    exec(compile(block, str(page), "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) > 5  # results of a full band
    assert names["session"].mask == 75
    assert names["session"].frames == 40  # restored


class Robot:
    """What the page about a robot's loop calls the robot."""

    def __init__(self, most_steps: int) -> None:
        self.steps: list[object] = []
        self._most_steps = most_steps

    def is_running(self) -> bool:
        return len(self.steps) < self._most_steps

    def step(self, seen: object) -> None:
        self.steps.append(seen)
        time.sleep(0.1)

    def stop(self, why: str) -> None:
        raise AssertionError(why)  # nothing shakes


def test_the_code_for_a_robots_loop_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "how-to" / "robot-loop.md"
    blocks = [block for where, block in code_blocks("python") if where == page]
    assert len(blocks) == 5
    pictures = [np.full((48, 64, 3), shade, np.uint8) for shade in range(90)]
    results: list[mar_edge.Prediction] = []
    own_loop = {"camera": [(picture, number / 30) for number, picture in enumerate(pictures)], "act_on": results.append}
    exec(compile(blocks[0], str(page), "exec"), own_loop)
    assert results
    exec(compile(blocks[1], str(page), "exec"), {})
    assert (tmp_path / "door.npz").stat().st_size > 1000
    for block, robot in ((blocks[2], Robot(30)), (blocks[3], Robot(5))):
        cameras = {
            name: mar_edge.testing.ScriptedSource([mar_edge.testing.Play(30)])
            for name in ("source", "left_camera", "right_camera")
        }
        exec(compile(block, str(page), "exec"), {"robot": robot, **cameras})
        assert any(robot.steps)
        assert all(camera.open == 0 for camera in cameras.values())
    tests: dict[str, object] = {}
    exec(compile(blocks[4], str(page), "exec"), tests)
    for name, test in list(tests.items()):
        if name.startswith("test_") and callable(test):
            test()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as `make docs` does, in a copy."""
    pytest.importorskip("zensical", reason="zensical is not installed: pip install 'mar-edge[docs]'")
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "mar_edge"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "site"


def test_the_site_is_built_without_warnings_and_its_links_lead_somewhere(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert len(pages) > 20
    anchors = {page: set(re.findall(r'\bid="?([^"\s>]+)', text)) for page, text in pages.items()}
    for page, text in pages.items():
        if page.name == "404.html":  # its links start at the address where the site will be
            continue
        for target in re.findall(r'<a\b[^>]*\bhref="?([^"\s>]+)', text):
            path, _, anchor = html.unescape(unquote(target)).partition("#")
            if re.match(r"[a-z]+:|/|mailto", path):
                continue
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{page.relative_to(site)} links to {target}"
            if anchor and there in anchors:
                assert anchor in anchors[there], f"{page.relative_to(site)} links to {target}"


def test_the_site_loads_nothing_from_other_servers(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="?(https?:[^"\s>]+)', text)
        loaded += re.findall(r'<link\b[^>]*\brel="?stylesheet"?[^>]*\bhref="?(https?:[^"\s>]+)', text)
        assert not loaded, f"{page.relative_to(site)} loads {loaded}"
