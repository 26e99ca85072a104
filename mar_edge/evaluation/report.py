"""Writes one HTML file that reports a training run or an evaluation; it loads no external resources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mar_edge.counting import counted, counted_of, form
from mar_edge.errors import MarEdgeError, OutputError
from mar_edge.evaluation import report_figures as figures
from mar_edge.evaluation.detection import Detection
from mar_edge.evaluation.metrics import ClassAccuracy, Evaluation, confused_pairs
from mar_edge.evaluation.report_curves import training_curves
from mar_edge.evaluation.report_detection import detection_section
from mar_edge.evaluation.report_style import REPORT, escape, page
from mar_edge.evaluation.report_words import Answer, answers_body, commands_body
from mar_edge.files.atomic_file import write_output
from mar_edge.files.ownership import check_not_input, check_replaceable

TABLE_CLASSES = 25
"""A confusion matrix with more classes is drawn as a picture, with the most confused pairs beside it."""

LIST_CLASSES = 20
"""With more classes, the worst and the best are shown, and all of them on a click."""

COLUMN_NAME = 24
"""If a class name is longer, in characters, the columns of the confusion matrix are numbered."""

NAMED = 10

PAIRS = 20
EXAMPLES = 12

Pictures = Callable[[int], NDArray[np.uint8]]
"""Returns the frames of a clip of the evaluation, uint8 (T, h, w, 3) RGB; may raise a MarEdgeError."""


def check_report_path(path: Path, *, force: bool = False, inputs: Iterable[str | Path | None] = ()) -> None:
    """Check that a report may be written to a path, before the work that it reports.

    Args:
        path: of the report.
        force: replace a file of another kind.
        inputs: what the command reads, see `files.ownership.check_not_input`.

    Raises:
        OutputError: if the name does not end in .html, another kind of file exists there, or it is one of the inputs.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"a report is an HTML file; name it {path.with_suffix('.html')} instead of {path}")
    check_replaceable(path, REPORT, force=force)
    check_not_input(path, inputs)


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, Any]] = (),
    kept_step: int | None = None,
    curves_of: str = "",
    evaluation: Evaluation | None = None,
    detection: Detection | None = None,
    pictures: Pictures | None = None,
    answers: Sequence[Answer] = (),
    commands: Sequence[tuple[str, str]] = (),
    force: bool = False,
) -> None:
    """Write a report; an existing report is replaced only by a complete one.

    Args:
        path: ends in .html.
        title: plain text, like all other texts.
        facts: how the result was produced: recipe, data, versions, GMACs, time.
        history: of training, one row per report: `step` and any of `epoch, loss, lr, top1, val_top1, val_loss`; any
            other number is a part of the loss. Shares are 0 to 1.
        kept_step: step whose weights were kept by validation; None for none.
        curves_of: a sentence below the curves on whose they are, if all other figures are of another model.
        evaluation: of the finished model; None leaves out everything except the curves and the facts.
        detection: the same evaluation of its classes as detectors; None leaves that out.
        pictures: returns frames for the most wrong examples; None for no pictures.
        answers: to what a reader asks first; they come before the figures.
        commands: what to type next, (what it does, the line); they come last.
        force: replace a file that is not a report of mar-edge.

    Raises:
        OutputError: if the file cannot be written.
        MissingExtraError: if matplotlib is not installed.
    """
    check_report_path(path, force=force)
    sections = []
    if evaluation is not None:
        sections.append(_cards(evaluation))
    if answers:
        sections.append(_section("In words", answers_body(answers)))
    curves = training_curves(history, kept_step)
    if curves is not None:
        whose = f'<p class="soft">{escape(curves_of)}</p>' if curves_of else ""
        sections.append(_section("Training", _image(curves, "Curves of loss, accuracy and learning rate") + whose))
    if evaluation is not None:
        sections += [_confusion(evaluation), _classes(evaluation)]
        sections += [] if detection is None else [_section("Detector", detection_section(detection))]
        sections.append(_calibration(evaluation))
        sections.append(_most_wrong(evaluation, pictures))
        sections += _left_out(evaluation)
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items())
    sections.append(_section("Facts", f'<table class="facts">{rows}</table>'))
    if commands:
        sections.append(_section("Next", commands_body(commands)))
    # names may contain bytes that are not text
    text = page(title, sections).encode("utf-8", errors="replace")
    write_output(path, text, kind=REPORT, force=force, advice="Choose a file you can write to")


def _cards(evaluation: Evaluation) -> str:
    low, high = evaluation.interval95
    cards = [("Top-1", _percent(evaluation.top1), f"95 %: {100 * low:.1f}–{100 * high:.1f} %")]
    if evaluation.top5 is not None:
        cards.append(("Top-5", _percent(evaluation.top5), "among the best five"))
    there = sum(part.clips > 0 for part in evaluation.per_class)
    mean_low, mean_high = evaluation.mean_class_interval95
    cards.append(
        (
            "Mean class accuracy",
            _percent(evaluation.mean_class_accuracy),
            f"95 %: {100 * mean_low:.1f}–{100 * mean_high:.1f} %; over {counted(there, 'class')}",
        )
    )
    cards.append(("Calibration error", _percent(evaluation.ece), "expected; 0 is best"))
    cards.append(("Loss", f"{max(0.0, evaluation.loss):.3f}", f"guessing has {np.log(len(evaluation.labels)):.3f}"))
    cards.append(
        ("Clips", f"{len(evaluation.names):,}", counted(evaluation.windows, "view") if evaluation.windows else "")
    )
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card{"" if index else " first"}"><span>{name}</span><b>{value}</b><span>{note}</span></div>'
            for index, (name, value, note) in enumerate(cards)
        )
        + "</div>"
    )


def _confusion(evaluation: Evaluation) -> str:
    counts = evaluation.confusion
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    if len(evaluation.labels) > TABLE_CLASSES:
        picture = _image(figures.confusion_picture(shares), "Confusion matrix")
        return _section("Confusion", picture + _pairs(evaluation))
    # with long names the columns have only the numbers, which precede the names of the rows
    numbered = max(map(len, evaluation.labels)) > COLUMN_NAME
    heads = [str(index) if numbered else label for index, label in enumerate(evaluation.labels)]
    columns = "".join(
        f'<th class="col"><span title="{escape(label)}">{escape(head)}</span></th>'
        for head, label in zip(heads, evaluation.labels, strict=True)
    )
    rows = []
    for true, label in enumerate(evaluation.labels):
        cells = "".join(
            _cell(int(counts[true, said]), float(shares[true, said]), f"{label} as {other}", hit=true == said)
            for said, other in enumerate(evaluation.labels)
        )
        number = f'<span class="soft">{true}</span> ' if numbered else ""
        rows.append(f'<tr><th class="row">{number}{escape(label)}</th>{cells}</tr>')
    dense = (" dense" if len(evaluation.labels) > 12 else "") + (" numbered" if numbered else "")
    table = f'<table class="confusion{dense}"><tr><th></th>{columns}</tr>{"".join(rows)}</table>'
    note = '<p class="soft">Clips by true class (rows) and predicted class (columns), shaded by their share of the row.</p>'
    return _section("Confusion", note + table)


def _cell(count: int, share: float, title: str, *, hit: bool) -> str:
    # from paper to blue; white numbers on a dark background
    mix = [round(255 + (end - 255) * share**0.7) for end in ((37, 99, 168) if hit else (197, 84, 52))]
    ink = "#fff" if share > 0.6 else "#1b2430" if count else "#c3cad3"
    style = f"background:rgb({mix[0]},{mix[1]},{mix[2]});color:{ink}" if count else f"background:#f6f8fa;color:{ink}"
    shown = f"{count:,}" if count else "·"
    return f'<td{" class=hit" if hit else ""} style="{style}" title="{escape(title)}: {count}">{shown}</td>'


def _pairs(evaluation: Evaluation) -> str:
    pairs = confused_pairs(evaluation.confusion, PAIRS)
    if not pairs:
        return "<p>No clip was confused.</p>"
    rows = []
    for true, said, count in pairs:
        total = evaluation.per_class[true].clips
        rows.append(
            f'<tr><td><span class="soft">{true}</span> {escape(evaluation.labels[true])}</td>'
            f'<td><span class="soft">{said}</span> {escape(evaluation.labels[said])}</td>'
            f'<td class="num">{count:,} of {total:,}</td><td class="num">{100 * count / total:.0f} %</td></tr>'
        )
    head = '<tr><th>true</th><th>predicted</th><th class="num">clips</th><th class="num">share</th></tr>'
    return f'<h2 style="margin-top:18px">Most confused</h2><table class="pairs">{head}{"".join(rows)}</table>'


def _classes(evaluation: Evaluation) -> str:
    there = [part for part in evaluation.per_class if part.clips]
    absent = evaluation.absent
    notes = [
        f"Bars are accuracies, lines their 95 % intervals. {evaluation.intervals_said} Clips of one recording are not "
        "independent; if they are taken as such, the true value may lie outside the interval."
    ]
    if absent:
        more = f" and {len(absent) - NAMED} more" if absent[NAMED:] else ""
        notes.append(f"There are no clips of {len(absent)} of the model's classes: {', '.join(absent[:NAMED])}{more}.")
    body = _class_list(there)
    if len(there) > LIST_CLASSES:
        by_accuracy = sorted(there, key=lambda part: (part.accuracy, -part.clips))
        half = min(LIST_CLASSES, len(there) // 2)
        worst, best = _class_list(by_accuracy[:half], "worst"), _class_list(by_accuracy[::-1][:half], "best")
        body = (
            f'<div class="many">{worst}{best}</div>'
            f"<details><summary>All {counted(len(there), 'class')}, in the order of the model</summary>{body}</details>"
        )
    return _section("Classes", f'<p class="soft">{escape(" ".join(notes))}</p>{body}')


def _class_list(parts: Sequence[ClassAccuracy], title: str = "class") -> str:
    head = (
        f'<div class="head"><span>{title}</span><span class="num">clips</span><span></span>'
        '<span class="num">accuracy</span><span class="num">95 % interval</span></div>'
    )
    rows = []
    for part in parts:
        assert part.accuracy is not None and part.interval95 is not None
        low, high = (100 * end for end in part.interval95)
        rows.append(
            f'<div><span class="name">{escape(part.label)}</span><span class="num">{part.clips:,}</span>'
            f'<span class="bar"><i style="width:{100 * part.accuracy:.1f}%"></i>'
            f'<u style="left:{low:.1f}%;width:{high - low:.1f}%"></u></span>'
            f'<span class="num">{_percent(part.accuracy)}</span><span class="num soft">{low:.0f} to {high:.0f} %</span></div>'
        )
    return f'<div class="classes">{head}{"".join(rows)}</div>'


def _calibration(evaluation: Evaluation) -> str:
    confidence = float(evaluation.scores.max(axis=1).mean())
    low, high = evaluation.interval95
    said = "the model is overconfident" if confidence > high else "the model is underconfident"
    if low <= confidence <= high:
        said = f"{counted(len(evaluation.names), 'clip')} show no difference"
    text = (
        f"<p>The mean confidence is {_percent(confidence)} and the accuracy is {_percent(evaluation.top1)} "
        f"(95 %: {100 * low:.1f} to {100 * high:.1f} %): {said}.</p>"
        f"<p>Its expected calibration error is <b>{_percent(evaluation.ece)}</b>: the mean distance of confidence and accuracy "
        "over 15 bins of confidence (Guo et al. 2017).</p>"
        '<p class="soft">Bars above the dashed line: the accuracy is higher than the confidence. Bars with few clips, see the lower part, mean '
        "little.</p>"
    )
    picture = _image(figures.reliability_diagram(evaluation), "Reliability diagram")
    return _section("Calibration", f'<div class="side">{picture}<div>{text}</div></div>')


def most_wrong(evaluation: Evaluation, count: int = EXAMPLES) -> list[int]:
    """Return the wrong clips whose predicted class leads the true one by most, worst first."""
    true = np.take_along_axis(evaluation.scores, evaluation.targets[:, None], axis=1)[:, 0]
    lead = np.where(evaluation.right, -1.0, evaluation.scores.max(axis=1) - true)
    order = np.argsort(-lead, kind="stable")[:count]
    return [int(index) for index in order if not evaluation.right[index]]


def _most_wrong(evaluation: Evaluation, pictures: Pictures | None) -> str:
    chosen = most_wrong(evaluation)
    if not chosen:
        return _section("Most wrong", "<p>Every clip was recognised.</p>")
    wrong = int((~evaluation.right).sum())
    note = f'<p class="soft">{len(chosen)} of {wrong:,} wrong clips: those where the prediction leads the true class by most.</p>'
    if pictures is not None:
        return _section("Most wrong", note + "".join(_film(evaluation, index, pictures) for index in chosen))
    rows = []
    for index in chosen:
        said, true = int(evaluation.predicted[index]), int(evaluation.targets[index])
        rows.append(
            f'<tr><td class="said">{escape(evaluation.labels[said])}</td><td class="num">{_score(evaluation, index, said)}</td>'
            f'<td class="true">{escape(evaluation.labels[true])}</td><td class="num">{_score(evaluation, index, true)}</td>'
            f'<td class="soft">{escape(evaluation.names[index])}</td></tr>'
        )
    head = "<tr><th>predicted</th><th></th><th>true</th><th></th><th>clip</th></tr>"
    return _section("Most wrong", f'{note}<table class="pairs">{head}{"".join(rows)}</table>')


def _film(evaluation: Evaluation, index: int, pictures: Pictures) -> str:
    """Return the labels and frames of one clip."""
    said, true = int(evaluation.predicted[index]), int(evaluation.targets[index])
    words = "".join(
        f'<dt>{word}</dt><dd><span class="{style}">{escape(evaluation.labels[label])}</span> '
        f"{_score(evaluation, index, label)}</dd>"
        for word, style, label in (("predicted", "said", said), ("true", "true", true))
    )
    try:
        film = _image(figures.film_strip(pictures(index)), evaluation.names[index])
    except MarEdgeError as error:
        film = f'<p class="soft">{escape(str(error))}</p>'
    name = escape(evaluation.names[index])
    return f'<div class="film"><div><dl>{words}</dl><div class="file">{name}</div></div>{film}</div>'


def _score(evaluation: Evaluation, index: int, label: int) -> str:
    return _percent(float(evaluation.scores[index, label]))


def _left_out(evaluation: Evaluation) -> list[str]:
    if not evaluation.broken:
        return []
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in evaluation.broken)
    note = f"<p>{counted_of(len(evaluation.broken), len(evaluation.broken) + len(evaluation.names), 'video')} could not be read and {form(len(evaluation.broken), 'is', 'are')} not part of these numbers.</p>"
    return [_section("Left out", f"{note}<details><summary>Which, and why</summary><ul>{listed}</ul></details>")]


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _image(uri: str, words: str) -> str:
    return f'<img src="{uri}" alt="{escape(words)}">'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
