"""The report as a browser reads it: valid, self-contained, everything escaped, written whole or not at all."""

from __future__ import annotations

import base64
import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mar_edge.errors import OutputError, SourceError
from mar_edge.evaluation import report_curves
from mar_edge.evaluation.metrics import Evaluation
from mar_edge.evaluation.report import most_wrong, write_report
from mar_edge.evaluation.report_words import Answer

NASTY = "<script>alert(1)</script> & \"quoted\" 'x' $a_{b}$ ünï 動作"
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Reads a page; a tag that is not closed, or closed wrongly, fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.images: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As HTMLParser's."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """As HTMLParser's."""
        assert self._open and self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """As HTMLParser's."""
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words, spaces made even."""
        return " ".join(" ".join(self.words).split())


def made(labels: list[str], clips: int, skill: float = 2.0, absent: int = 0) -> Evaluation:
    """Return scores of a model that is right more often than not; the last `absent` classes have no clips."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, len(labels) - absent, clips)
    logits = rng.normal(0, 1, (clips, len(labels)))
    logits[np.arange(clips), targets] += skill
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evaluation(
        labels=tuple(labels),
        scores=scores.astype(np.float32),
        targets=targets,
        names=tuple(f"clips/{index}.mp4" for index in range(clips)),
    )


HISTORY: list[dict[str, Any]] = [
    {"step": step, "epoch": step / 10, "loss": 2 / step, "classification": 1.5 / step, "lr": 1e-3, "top1": step / 1000}
    | ({"val_top1": step / 1500, "val_loss": 1.0} if step % 100 == 0 else {})
    for step in range(1, 1000)
]


def grey(index: int) -> NDArray[np.uint8]:
    return np.full((16, 48, 64, 3), 20 * index % 250, np.uint8)


def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    page = Page(text)
    for source in page.images:
        kind, data = re.fullmatch(r"data:(image/[a-z+]+);base64,(.*)", source).groups()  # type: ignore[union-attr]
        start = {"image/svg+xml": b"<?xml", "image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8"}[kind]
        assert base64.b64decode(data, validate=True).startswith(start)
    # nothing is fetched
    assert not set(page.tags) & {"script", "link", "iframe", "object"}
    assert not [value for name, value in page.attributes if name in ("src", "href") and not value.startswith("data:")]
    assert "url(" not in text.replace("data:", "")
    return page


@pytest.mark.parametrize("classes", [2, 6, 25, 26, 174])
def test_a_report_tells_what_there_is(tmp_path: Path, classes: int) -> None:
    evaluation = made([f"class {index}" for index in range(classes)], 3000, absent=1 if classes > 2 else 0)
    write_report(
        tmp_path / "r.html",
        title="arid: training",
        facts={"recipe": "training/arid.yaml", "GMACs": "1.84"},
        history=HISTORY,
        evaluation=evaluation,
        pictures=grey,
    )
    page = read(tmp_path / "r.html")
    for words in (
        "arid: training", f"{100 * evaluation.top1:.1f} %", "Confusion", "Calibration", "Most wrong", "GMACs 1.84",
        f"{100 * evaluation.ece:.1f} %", "class 0",
    ):  # fmt: skip
        assert words in page.text
    assert ("Top-5" in page.text) == (classes > 5)
    assert ("There are no clips of 1 of the model's classes" in page.text) == (classes > 2)
    assert sum("image/jpeg" in image for image in page.images) == min(12, int((~evaluation.right).sum()))
    # curves, reliability, and the confusion matrix where it is a picture
    assert sum("image/jpeg" not in image for image in page.images) == (3 if classes > 25 else 2)
    table_cells = [value for name, value in page.attributes if name == "title" and " as " in value]
    assert len(table_cells) == (classes**2 if classes <= 25 else 0)


@pytest.mark.parametrize(
    ("clips", "confidence", "says"),
    [(8, 0.95, "8 clips show no difference"), (800, 0.99, "is overconfident"), (800, 0.51, "is underconfident")],
)
def test_calibration_is_judged_by_the_interval(tmp_path: Path, clips: int, confidence: float, says: str) -> None:
    right = np.arange(clips) % 8 > 0  # 87.5 %
    first = np.where(right, confidence, 1 - confidence).astype(np.float32)
    evaluation = Evaluation(
        labels=("a", "b"),
        scores=np.stack([first, 1 - first], axis=1),
        targets=np.zeros(clips, np.int64),
        names=tuple(map(str, range(clips))),
    )
    write_report(
        tmp_path / "r.html", title="t", facts={}, history=HISTORY, curves_of="Not of this model.", evaluation=evaluation
    )
    text = read(tmp_path / "r.html").text
    assert says in text and "Not of this model." in text


def test_everything_is_escaped(tmp_path: Path) -> None:
    labels = [NASTY, *(f"{NASTY} {index}" for index in range(6))]
    evaluation = made(labels, 60, skill=0.5, absent=1)
    nasty = Evaluation(
        labels=evaluation.labels,
        scores=evaluation.scores,
        targets=evaluation.targets,
        names=tuple(f"{NASTY}/{index}.mp4" for index in range(60)),
        broken=(f"{NASTY} is empty",),
    )

    def pictures(index: int) -> NDArray[np.uint8]:
        raise SourceError(f"no such file: {NASTY}")

    history = [{"step": step, "loss": 1.0, NASTY: 2.0} for step in range(5)]
    for which, given in (("with", pictures), ("without", None)):
        write_report(
            tmp_path / f"{which}.html",
            title=NASTY,
            facts={NASTY: NASTY},
            history=history,
            evaluation=nasty,
            pictures=given,
        )
        page = read(tmp_path / f"{which}.html")
        assert "script" not in page.tags
        assert page.text.count("<script>alert(1)</script>") > 30
        assert f"{NASTY} 5" in page.text
        assert "could not be read and is not part of these numbers" in page.text


def test_a_report_of_curves_alone(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="pre-training", facts={}, history=[{"step": 1, "loss": 1.0}])
    page = read(tmp_path / "r.html")
    assert len(page.images) == 1
    assert "Top-1" not in page.text


def test_a_report_of_an_evaluation_alone(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", title="eval", facts={}, evaluation=made(["a", "b"], 1, skill=9))
    page = read(tmp_path / "r.html")
    assert "Training" not in page.text
    assert "Every clip was recognised." in page.text


def test_odd_histories(tmp_path: Path) -> None:
    """Rows that lack values, or hold NaN, None and infinity, as after a run that went wrong."""
    history: list[dict[str, Any]] = [
        {"step": 1, "loss": math.nan, "lr": None},
        {"step": 2, "loss": math.inf, "top1": 0.5, "val_top1": 0.25},
        {"loss": 3.0},
        {"step": 3},
    ]
    write_report(tmp_path / "r.html", title="t", facts={}, history=history)
    assert len(read(tmp_path / "r.html").images) == 1
    write_report(tmp_path / "r.html", title="t", facts={}, history=[{"step": 1, "loss": math.nan}])
    assert not read(tmp_path / "r.html").images


def test_the_most_wrong_come_first() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.01, 0.99]], np.float32)
    evaluation = Evaluation(labels=("a", "b"), scores=scores, targets=np.array([1, 1, 1, 0]), names=tuple("wxyz"))
    assert most_wrong(evaluation) == [3, 0, 1]
    assert most_wrong(evaluation, 2) == [3, 0]


def test_a_report_replaces_reports_only_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "r.html"
    write_report(path, title="first", facts={})
    with pytest.raises(OutputError, match=r"name it .*clip\.html instead of"):
        write_report(tmp_path / "clip.mp4", title="t", facts={})
    with pytest.raises(OutputError, match="is a folder"):
        (tmp_path / "folder.html").mkdir()
        write_report(tmp_path / "folder.html", title="t", facts={})
    with pytest.raises(OutputError, match="cannot write the report"):
        write_report(path / "below.html", title="t", facts={})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(path, title="second", facts={})
    assert "first" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["r.html"]


def test_reports_leave_matplotlib_as_it_was() -> None:
    """No pyplot, no backend chosen, no setting changed: the report may be written beside a person's own figures."""
    code = (
        "import sys, matplotlib as m; now = lambda: {k: m.rcParams[k] for k in m.rcParams if k != 'backend'}; before = now();"
        "from tests.evaluation.test_report import *; from pathlib import Path; import tempfile;"
        "write_report(Path(tempfile.mkdtemp()) / 'r.html', title='t', facts={}, history=HISTORY, evaluation=made(['a', 'b'], 9));"
        "assert 'matplotlib.pyplot' not in sys.modules; assert now() == before"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


LONG_PARTS = {
    "tokens_of_the_encoder_that_are_compared_with_those_of_the_teacher": 0.3,
    "flow": 0.2,
    "distillation": 0.1,
}


def curve(best_at: float, scale: int = 1, parts: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """A history whose validation is best at some share of the training, at 100 %."""
    return [
        {
            "step": step * scale,
            "loss": 3 / step,
            "lr": 1e-3 / step,
            "top1": step / 300,
            "val_loss": 1.0,
            **(parts or {}),
        }
        | {"val_top1": 1 - abs(step / 300 - best_at)}
        for step in range(1, 301)
    ]


@pytest.mark.parametrize("history", [
    curve(0), curve(0.5), curve(1), curve(1, 10_000), curve(0.9, parts=LONG_PARTS), curve(1)[:1], [{"step": 1, "loss": 1.0}],
])  # fmt: skip
def test_no_label_of_the_curves_is_cut_off_or_on_a_curve(
    history: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    def keep(figure: Figure) -> str:
        drawn.append(figure)
        return ""

    monkeypatch.setattr(report_curves, "to_svg", keep)
    report_curves.training_curves(history)
    (figure,) = drawn
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    whole, inked = figure.bbox_inches, figure.get_tightbbox()
    assert inked.x0 >= 0 and inked.y0 >= 0 and inked.x1 <= whole.x1 and inked.y1 <= whole.y1, "something is cut off"
    frames = [axes.get_window_extent().padded(-2) for axes in figure.axes]
    for axes in figure.axes:
        legend = axes.get_legend()
        for text in [axes.title, axes.xaxis.label, *axes.texts, *(legend.get_texts() if legend is not None else [])]:
            box = text.get_window_extent()
            assert not any(frame.overlaps(box) for frame in frames), f"'{text.get_text()}' is among the curves"
    legends = [legend.get_window_extent() for axes in figure.axes if (legend := axes.get_legend()) is not None]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(legends, 2))


@pytest.mark.parametrize(
    "label", ["jump", "x" * 24, "x" * 25, "Pretending or failing to wipe something off of something"]
)
def test_no_name_of_a_confusion_matrix_is_cut_off(tmp_path: Path, label: str) -> None:
    evaluation = made([f"{label} {index}" for index in range(4)], 100)
    write_report(tmp_path / "r.html", title="t", facts={}, evaluation=evaluation)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "ellipsis" not in text and "overflow: hidden" not in text
    heads = re.findall(r'<th class="col"><span title="([^"]*)">([^<]*)</span>', text)
    assert [title for title, _ in heads] == list(evaluation.labels)
    if len(label) > 22:  # with its number
        assert [head for _, head in heads] == ["0", "1", "2", "3"]
        assert f'<th class="row"><span class="soft">3</span> {label} 3</th>' in text
    else:
        assert [head for _, head in heads] == list(evaluation.labels)


def test_words_come_first_and_commands_last(tmp_path: Path) -> None:
    answers = [
        Answer("Which weights?", [f"use {NASTY}", "A second one."]),
        Answer("Doubtful labels?", ["look at 1 clip"], [("clip", "labelled"), (NASTY, "left")]),
    ]
    commands = [("export it", f"mar-edge export '{NASTY}' -o out.mar"), ("run it", "mar-edge run --model out.mar")]
    write_report(
        tmp_path / "r.html",
        title="t",
        facts={"a": "b"},
        evaluation=made(["left", "right"], 40),
        history=HISTORY,
        kept_step=300,
        answers=answers,
        commands=commands,
    )
    page = read(tmp_path / "r.html")
    assert "script" not in page.tags and f"Use {NASTY}." in page.text and "A second one." in page.text
    assert (
        page.text.index("In words") < page.text.index("Training") < page.text.index("Facts") < page.text.index("Next")
    )
    assert page.text.endswith("Run it: mar-edge run --model out.mar")
    assert page.tags.count("pre") == 2 and "clip labelled" in page.text
    curves = base64.b64decode(page.images[0].partition(",")[2]).decode()
    assert "kept 20.0 % (ring)" in curves and "kept 1.000 (ring)" in curves
