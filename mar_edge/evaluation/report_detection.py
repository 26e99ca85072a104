"""A model as a detector, in a report: precision over recall of each class as a picture, and its figures as a table."""

from __future__ import annotations

from itertools import cycle

from mar_edge.evaluation.detection import Detection
from mar_edge.evaluation.detector import CURVE_POINTS, ClassDetector, OperatingPoint
from mar_edge.evaluation.plot_style import BLUE, GREEN, GREY, ORANGE, PURPLE, new_figure, tidy
from mar_edge.evaluation.report_figures import to_svg
from mar_edge.evaluation.report_style import escape

CURVES = 8
"""Most classes in the picture: with more, those of the lowest average precision."""

NAME_CHARACTERS = 28
ANY = "any class"


def detection_section(detection: Detection) -> str:
    """Return the picture and the tables as HTML."""
    if not detection.detectors:
        reasons = "; ".join(f"{label}: {why}" for label, why in list(detection.unjudged.items())[:CURVES])
        return f"<p>No class can be judged as a detector: {escape(reasons)}.</p>"
    shown = sorted(detection.detectors, key=lambda one: one.ranking.average_precision)[:CURVES]
    drawn = [one for one in detection.detectors if one in shown]
    said = (
        "Each class against all others. AUC: how often a clip of the class scores higher than another one. Average precision: mean "
        "share of right clips among those that score at least as high as each clip of the class. An event begins where the class is the "
        "best and its score reaches the onset, a dot in the picture; here these are the scores of whole clips, and not the smoothed ones "
        "of a live stream."
    )
    if detection.chosen:
        said += f" Chosen onsets let an event begin in at most {100 * (detection.false_alarms or 0):g} % of the clips of other classes."
    more = (
        f" The picture has the {CURVES} of lowest average precision." if len(drawn) < len(detection.detectors) else ""
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in detection.notes)
    picture = f'<img src="{curves(detection, drawn)}" alt="Precision over recall">'
    return (
        f'<p class="soft">{escape(said + more)}</p>'
        f'<div class="side">{picture}<div>{_rankings(detection)}</div></div>'
        f'<h2 style="margin-top:18px">Events that would begin</h2>{_points(detection)}'
        + (f'<ul class="soft">{notes}</ul>' if notes else "")
    )


def curves(detection: Detection, drawn: list[ClassDetector]) -> str:
    """Draw precision over recall of classes, with a dot at the onset that would hold; return a data URI."""
    figure = new_figure(4.4, 3.6 + 0.17 * len(drawn))
    axes = figure.add_subplot()
    lines = []
    for place, (one, color) in enumerate(zip(drawn, cycle([BLUE, ORANGE, GREEN, PURPLE, GREY]), strict=False)):
        recall, precision, _ = one.ranking.curve(CURVE_POINTS)
        # a step has the precision of its end, as average precision counts it
        steps = [0, *(100 * recall)], [100 * precision[0], *(100 * precision)]
        style = "-" if place < 5 else "--"
        lines += axes.step(*steps, where="pre", color=color, linewidth=1.5, linestyle=style, clip_on=False)
        point = one.at(detection.chosen_onsets[one.label])
        if point.found:
            share = 100 * point.found / (point.found + point.false)
            axes.plot(100 * point.recall, share, color=color, marker="o", markersize=5, clip_on=False)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.set_xlabel("recall, %", fontsize=9)
    axes.set_ylabel("precision, %", fontsize=9)
    if len(drawn) > 1:
        legend = axes.legend(
            lines, [_short(one.label) for one in drawn], fontsize=8, frameon=False, loc="upper left",
            bbox_to_anchor=(0, -0.16), borderaxespad=0, labelspacing=0.25,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
    tidy(axes)
    return to_svg(figure)


def _short(name: str) -> str:
    """Return a name for the legend, whose font has only Latin letters."""
    short = name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}..."
    return short.encode("ascii", "replace").decode()


def _rankings(detection: Detection) -> str:
    rows = []
    for one in detection.detectors:
        rank = one.ranking
        f1, onset = one.best_f1
        auc, precision = rank.intervals95 if detection.with_intervals else (None, None)
        figures = (
            f'<td class="num">{rank.auc:.3f}{_ends(auc)}</td>'
            f'<td class="num">{rank.average_precision:.3f}{_ends(precision)}</td>'
        )
        best = "never best" if onset is None else f"{f1:.3f} at {onset:g}"
        rows.append(
            f'<tr><td>{escape(one.label)}</td><td class="num">{rank.positives:,}</td>{figures}<td class="num">{best}</td></tr>'
        )
    head = "".join(f'<th class="num">{name}</th>' for name in ("clips", "AUC", "average precision", "best F1"))
    return f'<table class="pairs"><tr><th>class</th>{head}</tr>{"".join(rows)}</table>'


def _points(detection: Detection) -> str:
    rows = [_row(label, point, "chosen" if chosen else "now") for label, point, chosen in detection.points()]
    columns = ("onset", "recall", "95 %", "false alarms", "95 %")
    head = "".join(f'<th class="num">{name}</th>' for name in columns)
    return f'<table class="pairs"><tr><th>class</th><th></th>{head}</tr>{"".join(rows)}</table>'


def _row(label: str | None, point: OperatingPoint, when: str) -> str:
    onset = "of each class" if point.onset is None else f"{point.onset:g}"
    return (
        f'<tr><td>{ANY if label is None else escape(label)}</td><td class="soft">{when}</td><td class="num">{onset}</td>'
        f'<td class="num">{point.found:,} of {point.positives:,}</td><td class="num soft">{_percents(point.recall95)}</td>'
        f'<td class="num">{point.false:,} of {point.negatives:,}</td><td class="num soft">{_percents(point.false_alarms95)}</td></tr>'
    )


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f'<br><span class="soft">{interval[0]:.2f} to {interval[1]:.2f}</span>'


def _percents(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
