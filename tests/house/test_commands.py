"""Every command that a message, a docstring or a page advises is one that can be typed as it stands there."""

from __future__ import annotations

import ast
import difflib
import itertools
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from packaging.requirements import Requirement

from mar_edge.cli.main import app
from mar_edge.files.yaml_problems import all_keys
from mar_edge.training.recipe import Recipe
from tests.conftest import ROOT

HOLE = "1"
"""Stands for what a message puts in: good as a name, a path and a number."""

ROOT_COMMAND: Any = typer.main.get_command(app)

COMMANDS = sorted(ROOT_COMMAND.commands)

KEYS = {".".join(keys) for keys in all_keys(Recipe)}


class Text(NamedTuple):
    """A string of the package or a line of a page, and where it stands."""

    place: str
    text: str


def literals() -> Iterator[Text]:
    """Give every string of the package, docstrings too, with something in place of what is put in."""
    for path in sorted((ROOT / "mar_edge").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        named = named_strings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
            ):
                for text in texts(node, named):
                    yield Text(f"{path.relative_to(ROOT)}:{node.lineno}", text)


def named_strings(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """Return the strings that are given to names, so that a message that puts one in is read whole."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            values = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
            found.setdefault(node.targets[0].id, []).extend(
                value for value in values if isinstance(value, ast.JoinedStr | ast.Constant)
            )
    return found


def texts(node: ast.expr, named: dict[str, list[ast.expr]], depth: int = 2) -> list[str]:
    """Return what a string may be, a hole filled with each string that its name may have, or with `HOLE`."""
    if not isinstance(node, ast.JoinedStr):
        return [str(node.value)] if isinstance(node, ast.Constant) and isinstance(node.value, str) else [HOLE]
    choices: list[list[str]] = []
    for part in node.values:
        filled = [HOLE]
        if isinstance(part, ast.Constant):
            filled = [str(part.value)]
        elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and depth:
            inner = [text for value in named.get(part.value.id, []) for text in texts(value, named, depth - 1)]
            filled = list(dict.fromkeys(inner))[:8] or [HOLE]
        choices.append(filled)
    return ["".join(parts) for parts in itertools.islice(itertools.product(*choices), 64)]


CODE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
"""A block of code in a page: its language, and what stands in it."""


def markdown() -> list[Path]:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    files += [path for room in ("training", "export", "calibration", "runtime") for path in (ROOT / room).rglob("*.md")]
    return sorted(files)


def prose() -> Iterator[Text]:
    """Give the text of every page outside its blocks of code."""
    for path in markdown():
        yield Text(str(path.relative_to(ROOT)), CODE.sub("", path.read_text(encoding="utf-8")))


def pages() -> Iterator[Text]:
    """Give the lines of code blocks of all pages, and the commands in the heads of recipes and examples."""
    for path in markdown():
        for language, block in CODE.findall(path.read_text(encoding="utf-8")):
            if language not in ("", "sh", "bash", "console", "text"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                yield Text(str(path.relative_to(ROOT)), line)
    for path in sorted((ROOT / "training").glob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#   "):
                yield Text(str(path.relative_to(ROOT)), line.removeprefix("#"))


WHOLE = re.compile(r"^(?:\$ )?(mar-edge [a-z].*)$|[Rr]un: (mar-edge [a-z1].*?)(?:\.?$|\. |; |, which |\n)", re.S)
"""A command that stands alone, or after `Run:`, up to the end of the sentence."""

NAMED = re.compile(r"mar-edge ((?:[a-z][a-z-]*)(?: [a-z]+)?)((?: --[a-z-]+)*)")
"""A command that a sentence or a pair of backticks names, with the options right behind it."""

INSTALL = re.compile(r"pip install ((?:'[^']*'|\"[^\"]*\"|[^\s'\";)`]+|[ ])+)")


def whole_commands() -> list[Text]:
    found = []
    for place, text in literals():
        for match in WHOLE.finditer(text.strip()):
            command = (match[1] or match[2]).strip()
            # a docstring may begin with a sentence about mar-edge
            if match[2] or difflib.get_close_matches(command.split()[1], COMMANDS, n=1):
                found.append(Text(place, command))
    for place, line in pages():
        command = line.split("#")[0].strip().removeprefix("$ ")
        for part in re.split(r" \| |&&|;", command):
            words = re.sub(r"^(do )?([A-Z_]+=\S+ )*", "", part.strip())
            if words.startswith("mar-edge ") and "[" not in words and "|" not in words:
                found.append(Text(place, words))
    return found


class NoCommandError(Exception):
    """What is printed cannot be typed."""


def parse(command: str) -> None:
    """Parse a command as the shell and the app do.

    Raises:
        NoCommandError: if it cannot be typed so.
    """
    words = [word.strip("[]") for word in shlex.split(command.replace("…", "").replace("...", ""))]
    here, (name, *words) = ROOT_COMMAND, [word for word in words if word]
    context = None
    while hasattr(here, "get_command") and words and not words[0].startswith("-"):
        context = here.make_context(name, [], parent=context, resilient_parsing=True)
        name, *words = words
        here = here.get_command(context, name)
        if here is None and name == HOLE:  # one of several
            here = context.command.get_command(context, "train")
        if here is None:
            raise NoCommandError(f"no command {name}")
    if hasattr(here, "get_command"):
        return  # options of mar-edge itself, as --version
    try:
        made = here.make_context(name, words, parent=context)
    except Exception as error:  # typer may bring a click of its own, with errors of its own
        if type(error).__name__ == "Exit":  # --help
            return
        raise NoCommandError(getattr(error, "message", "") or repr(error)) from error
    if name in ("train", "pretrain"):
        for override in made.params["overrides"] or ():
            key = override.partition("=")[0]
            if key not in (*KEYS, "key", "key.key"):
                raise NoCommandError(f"no key {key} in a recipe")


def test_commands_are_found() -> None:
    places = {text.place.split(":")[0] for text in whole_commands()}
    assert {"mar_edge/bundle.py", "mar_edge/training/recipe.py", "mar_edge/runtime/measurement/choice.py"} <= places
    assert len(whole_commands()) > 20


@pytest.mark.parametrize("text", whole_commands(), ids=lambda text: f"{text.place} {text.text[:50]}")
def test_a_command_works_as_printed(text: Text) -> None:
    try:
        parse(text.text)
    except NoCommandError as error:
        pytest.fail(f"{text.place}: '{text.text}': {error}")


def test_what_is_no_command_is_not_taken_for_one() -> None:
    for command in (
        "mar-edge trian x", "mar-edge init x", "mar-edge train a.yaml trainer.stpes=3", "mar-edge verify x --thread 1",
        "mar-edge export x", "mar-edge import x", "mar-edge data chek x", "mar-edge run --camera front",
    ):  # fmt: skip
        with pytest.raises(NoCommandError):
            parse(command)


def test_commands_that_sentences_name_exist() -> None:
    context = ROOT_COMMAND.make_context("mar-edge", [], resilient_parsing=True)
    found = 0
    for place, text in [*literals(), *prose()]:
        for match in re.finditer(r"`(mar-edge [^`]+)`|(?:see|run|of|by|when|what) (mar-edge [a-z-]+)", text):
            named = NAMED.match(match[1] or match[2])
            assert named is not None, f"{place}: {match[0]}"
            words = named[1].split()
            command = ROOT_COMMAND.get_command(context, words[0])
            if command is None and match[2]:  # "of mar-edge that brings it"
                assert words[0] not in ("see", "run"), place
                continue
            assert command is not None, f"{place}: there is no command '{words[0]}'"
            if hasattr(command, "get_command") and words[1:]:
                command = command.get_command(context, words[1])
                assert command is not None, f"{place}: there is no command '{named[1]}'"
            options = {option for parameter in command.params for option in parameter.opts}
            assert set(named[2].split()) <= options, f"{place}: {match[0]}"
            found += 1
    assert found > 20


def test_packages_that_are_advised_can_be_installed() -> None:
    extras = set(metadata("mar-edge").get_all("Provides-Extra") or ())
    found = 0
    for place, text in [*literals(), *pages()]:
        for match in INSTALL.finditer(text.split("  #")[0]):
            for word in shlex.split(match[1]):
                if word.startswith(("-", ".")) or "/" in word or word.endswith(".whl"):
                    continue
                word = word.rstrip(".,")
                if f"[{HOLE}]" in word:  # `require` puts an extra in, see below
                    continue
                wanted = Requirement(word)
                found += 1
                if wanted.name == "mar-edge":
                    assert wanted.extras <= extras, f"{place}: {word}"
    assert found >= 3


def test_extras_that_code_requires_exist() -> None:
    extras = set(metadata("mar-edge").get_all("Provides-Extra") or ())
    found = 0
    for path in sorted((ROOT / "mar_edge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
                extra = node.args[1]
                if isinstance(extra, ast.Constant):
                    found += 1
                    assert extra.value in extras, f"{path}:{node.lineno}"
    assert found > 5


def test_keys_that_messages_name_are_keys_of_a_recipe() -> None:
    rooms = ("trainer", "optimiser", "objective", "augment", "mask", "mix", "start", "data")
    found = 0
    for place, text in literals():
        if place.startswith(("mar_edge/training/", "mar_edge/datasets/")):
            for name in re.findall(rf"(?<![\w./])(?:{'|'.join(rooms)})\.[a-z_]+(?:\.[a-z_]+)*(?![\w(])", text):
                found += 1
                assert name in KEYS, f"{place} names {name}"
    assert found > 30
