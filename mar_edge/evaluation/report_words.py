"""The words of a report: questions with their answers, and commands to copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mar_edge.evaluation.report_style import escape


@dataclass(frozen=True)
class Answer:
    """A question and what there is to say.

    Attributes:
        question: a short one.
        sentences: without their last full stop.
        table: rows below them, the head first; empty for none.
    """

    question: str
    sentences: Sequence[str]
    table: Sequence[Sequence[str]] = field(default_factory=list)


def answers_body(answers: Sequence[Answer]) -> str:
    """Return questions and answers as HTML."""
    rows = "".join(
        f"<dt>{escape(one.question)}</dt><dd>{''.join(_paragraph(said) for said in one.sentences)}{_table(one.table)}</dd>"
        for one in answers
    )
    return f'<dl class="answers">{rows}</dl>'


def commands_body(commands: Sequence[tuple[str, str]]) -> str:
    """Return commands as HTML, each below what it does.

    Args:
        commands: (what it does, the line).
    """
    return "".join(
        f'<p class="soft">{escape(does[:1].upper() + does[1:])}:</p><pre>{escape(line)}</pre>'
        for does, line in commands
    )


def _paragraph(said: str) -> str:
    text = said[:1].upper() + said[1:]
    return f"<p>{escape(text if text.endswith('.') else f'{text}.')}</p>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head, *body = ("".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in _tagged(rows))
    return f'<table class="pairs"><tr>{head}</tr>{"".join(f"<tr>{row}</tr>" for row in body)}</table>'


def _tagged(rows: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return [("td" if place else "th", row) for place, row in enumerate(rows)]
