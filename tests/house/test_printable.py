"""Foreign text is only text: nothing in a label, a name or a message acts on a terminal."""

from __future__ import annotations

import ast
import io
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn
from rich.table import Table

from mar_edge.console import Console, Field, literal
from mar_edge.errors import SourceError
from mar_edge.evaluation.report_style import escape
from mar_edge.printable import plain, printable, printable_lines, typed
from mar_edge.reporting import Warnings
from tests.conftest import ROOT

CLIPBOARD = "\x1b]52;c;Y3VybCBldmlsfHNo\x07"
HOSTILE = [
    CLIPBOARD, "\x1b]0;owned\x07", "\x1b[2J", "\x1b[31m", "\x1b[8m", "\x9b2J", "\x9d0;x\x9c", "\x1bP\x1b\\", "\x1bc", "\b\b\b", "\x7f", "\r",
    "\x00", "\x0e", "\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u2069", "\u206a", "\x1b]8;;http://evil.test\x1b\\", "\udcff", "\ud800",
]  # fmt: skip
MARKUP = ["[red]", "[/red]", "[/]", "[link=https://evil.test]a[/link]", "back\\", "[bold]\\[x", ":smile:", "$\\frac{$"]
INNOCENT = ["Zoë", "Zoe\u0308", "日本語", "हिन्दी", "עברית \u200f!", "العربية", "👩\u200d🚀", "🏴\U000e0067\U000e007f", "1\ufe0f⃣", "a\u00a0b", "❤\ufe0f"]  # fmt: skip

OWN = re.compile(r"\x1b\[(?:[\d;]*m|\?25[lh]|2K|1A)|\r(?=\x1b\[2K)")
"""What rich writes of its own: colours, the cursor, and clearing its own lines."""


def has_none(drawn: str) -> bool:
    """Whether nothing that acts on a terminal is left but what rich writes of its own."""
    rest = OWN.sub("", drawn)
    return printable_lines(rest) == rest


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_become_escapes(text: str) -> None:
    shown = printable(f"a{text}b")
    assert shown == f"a{text}b".encode("unicode_escape").decode().replace(r"\\", "\\")
    assert shown.isascii()
    assert shown.isprintable()
    assert printable(shown) == shown
    assert printable_lines(text) == printable(text)
    with pytest.raises(ValueError, match="contains control characters") as caught:
        plain(text)
    assert printable(text) in str(caught.value)
    assert escape(f"a{text}") == f"a{printable(text)}"  # in HTML reports


@pytest.mark.parametrize("text", [*INNOCENT, *MARKUP])
def test_text_of_all_scripts_stays(text: str) -> None:
    assert printable(text) == printable_lines(text) == plain(text) == text


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_has_no_control_characters(text: str) -> None:
    for shown in (printable(text), printable_lines(text).replace("\n", "").replace("\t", "")):
        assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cs", "Zl", "Zp"}
        assert not {unicodedata.bidirectional(one) for one in shown} & {"LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI", "FSI", "PDI"}  # fmt: skip


def test_a_line_cannot_be_faked() -> None:
    assert printable("a\nmar-edge: done\tb") == r"a\nmar-edge: done\tb"
    assert printable_lines("a\nb\tc\r\n") == "a\nb\tc\\r\n"
    with pytest.raises(ValueError, match=r"'a\\nb'"):
        plain("a\nb")


def test_errors_and_warnings_are_printable() -> None:
    assert str(SourceError(f"no such file: {CLIPBOARD}")) == f"no such file: {printable(CLIPBOARD)}"
    warnings = Warnings()
    warnings("late\x9b2J")
    assert warnings.take() == [r"late\x9b2J"]


def draw(console: Console, text: str) -> None:
    """Print a text in every way that views use."""
    console.say(text, "bold")
    console.print(text, literal(text, style="red"), text, style="italic")
    console.print(literal(text) + f" {text}")
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_column(literal(text, text), overflow="fold")
    table.add_row(text, literal(text))
    console.print(table)
    console.print(Panel(text, title=literal(text)))
    with console.bar(Field(), BarColumn(), Field("note"), auto_refresh=False) as bar:
        bar.add_task(text, note=text)
        bar.refresh()
    live = Live(Panel(literal(text)), console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with console.drawing(live):
        live.refresh()
        console.say(text)


@pytest.mark.parametrize("text", [*HOSTILE, *MARKUP])
def test_a_console_draws_text_literally(text: str) -> None:
    for terminal in (True, False):
        file = io.StringIO()
        draw(Console(file=file, force_terminal=terminal, width=400), f"a{text}b")
        drawn = file.getvalue()
        assert has_none(drawn), repr(drawn)
        assert "\x1b]" not in drawn
        # 4 printed, 2 printed together, title, caption, 2 headings with 3 lines, 2 cells, panel with title, line above
        assert OWN.sub("", drawn).count(f"a{printable(text)}b") >= 16
        assert ("\x1b" in drawn) == terminal


@given(st.text(st.characters(codec=None)))
def test_any_text_is_one_literal_line(text: str) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=False, width=20)
    console.say(text)
    assert file.getvalue() == printable(text) + "\n"


@pytest.mark.parametrize("text", INNOCENT)
def test_a_console_keeps_text_of_all_scripts(text: str) -> None:
    file = io.StringIO()
    draw(Console(file=file, width=200), text)
    assert file.getvalue().count(text) >= 15


def test_what_libraries_write_appears_above_what_is_drawn() -> None:
    file, before = io.StringIO(), sys.stderr
    console = Console(file=file, force_terminal=True, width=80)
    with console.bar(Field(), auto_refresh=False) as bar:
        bar.add_task("working")
        assert sys.stderr is not before
        sys.stderr.write("first\x1b[31m\nsec")
        sys.stderr.write("ond")
    assert sys.stderr is before
    assert has_none(file.getvalue())
    lines = OWN.sub("\n", file.getvalue()).splitlines()
    assert [line.strip() for line in lines if "first" in line] == [r"first\x1b[31m"]
    assert any(line.strip() == "second" for line in lines)


RICH = {
    "rich.box", "rich.console.Group", "rich.live.Live", "rich.panel.Panel", "rich.table.Table",
    "rich.progress.BarColumn", "rich.progress.MofNCompleteColumn", "rich.progress.SpinnerColumn", "rich.progress.TimeRemainingColumn",
}  # fmt: skip
"""Parts of rich that read no markup in the strings they are given, or hand them to the console."""

MARKUP_READERS = ("Text", "Progress", "Text.from_markup", "Text.from_ansi", "Text.assemble", "console.status")

TYPES = {"rich.console.RenderableType", "rich.text.Text", "rich.progress.Progress"}
"""Good as types, not to be called."""

PRINTING = {
    "print": {
        "cli/standard_streams.py",
        "cli/second_signal.py",  # constant text, from a thread that must not wait
        "runtime/measurement/memory.py",  # a process whose output is read by its parent
        "runtime/sources/raw.py",  # a byte into a pipe of its own, which wakes a thread
        "runtime/sinks/json_lines.py",  # JSON, whose control characters are escaped
    },
    "rich": {"console.py"},
}


def findings(path: Path) -> Iterator[str]:
    """Yield what prints past the console in a module."""
    place = path.relative_to(ROOT / "mar_edge").as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rich":
            names = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names if name.name.split(".")[0] == "rich"]
        if place not in PRINTING["rich"]:
            yield from (name for name in names if not name.startswith(tuple(RICH)) and name not in TYPES)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if place not in PRINTING["rich"] and called in MARKUP_READERS:
                yield called
            if called == "Live" and "redirect_stderr=False" not in ast.unparse(node):
                yield "Live, which reads the colours of libraries"
            if called == "Panel" and any(
                word.arg in ("title", "subtitle") and not ast.unparse(word.value).startswith("literal(")
                for word in node.keywords
            ):
                yield "Panel, which reads markup in a title"
            prints = called == "print" or re.fullmatch(
                r"(typer|click)\.(echo|secho)|sys\.std(out|err)\.write(lines)?|os\.write", called
            )
            if prints and place not in PRINTING["print"]:
                yield called


def test_paths_are_typed_so_that_a_shell_reads_them_as_paths() -> None:
    for path, text in (("a/b.csv", "a/b.csv"), ("my clips", "'my clips'"), ("-x/it's", """'./-x/it'"'"'s'""")):
        assert typed(Path(path)) == text


def test_only_the_console_prints() -> None:
    found = {str(path): list(findings(path)) for path in sorted((ROOT / "mar_edge").rglob("*.py"))}
    assert {path: names for path, names in found.items() if names} == {}


def test_what_prints_past_the_console_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "mar_edge" / "module.py"
    module.parent.mkdir()
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for code in (
        "print(1)", "typer.echo(1)", "sys.stderr.write('')", "from rich.console import Console", "import rich", "from rich import print",
        "from rich.markup import escape", "Text('a')", "Panel(x, title=name)", "Live(x)", "from rich.progress import TextColumn",
    ):  # fmt: skip
        module.write_text(code)
        assert list(findings(module)), code
    module.write_text("from rich.table import Table\nconsole.print(Panel(x, title=literal(name)))")
    assert not list(findings(module))
