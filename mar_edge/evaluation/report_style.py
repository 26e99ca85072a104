"""The style of a report: its style sheet, and the frame of its page."""

from __future__ import annotations

import html

from mar_edge.files.ownership import FileKind
from mar_edge.printable import printable_lines

_STYLE = """
:root { --ink: #1b2430; --soft: #5b6675; --line: #e3e7ec; --paper: #ffffff; --blue: #2563a8; --good: #2f8f5b; --bad: #b3402e; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 12px; }
p { margin: 0 0 10px; max-width: 75ch; }
.soft { color: var(--soft); font-size: 13px; max-width: 95ch; }
span.soft, td.soft { max-width: none; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px; margin-top: 18px; overflow-x: auto; }
img { display: block; max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 18px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.card b { display: block; font-size: 25px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card.first b { color: var(--blue); }
.card span { display: block; color: var(--soft); font-size: 13px; }
.side { display: grid; grid-template-columns: minmax(0, 420px) minmax(0, 1fr); gap: 26px; align-items: start; }
.facts th { text-align: left; font-weight: 600; color: var(--soft); padding: 4px 22px 4px 0; vertical-align: top; white-space: nowrap; }
.facts td { padding: 4px 0; overflow-wrap: anywhere; white-space: pre-line; }
.classes { display: grid; grid-template-columns: minmax(90px, max-content) auto minmax(120px, 1fr) auto auto; column-gap: 14px; align-items: center; }
.classes > div { display: grid; grid-template-columns: subgrid; grid-column: 1 / -1; align-items: center; padding: 2px 0; }
.classes .head { color: var(--soft); font-size: 13px; }
.classes .name { max-width: 34ch; overflow-wrap: anywhere; line-height: 1.25; }
.many { display: grid; grid-template-columns: 1fr 1fr; column-gap: 34px; align-items: start; font-size: 13px; margin-bottom: 14px; }
.many .classes { column-gap: 10px; grid-template-columns: minmax(80px, max-content) auto minmax(60px, 1fr) auto auto; }
.many .classes .name { max-width: 24ch; }
.many .bar { min-width: 50px; }
.many .soft, .many .head { font-size: 12px; }
.num { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.bar { position: relative; height: 14px; background: #eef1f4; border-radius: 3px; min-width: 80px; }
.bar i { position: absolute; inset: 0 auto 0 0; background: #8fb4dc; border-radius: 3px; }
.bar u { position: absolute; top: 6px; height: 2px; background: #33506f; }
.confusion { border-spacing: 2px; border-collapse: separate; }
.confusion td { width: 44px; min-width: 34px; height: 34px; text-align: center; border-radius: 4px; font-size: 13px; }
.confusion.dense td { width: 30px; min-width: 30px; height: 28px; font-size: 12px; }
.confusion th { font-weight: 500; font-size: 13px; }
.confusion th.row { text-align: right; padding-right: 10px; max-width: 260px; line-height: 1.2; overflow-wrap: anywhere; }
.confusion th.col { vertical-align: bottom; padding-bottom: 6px; }
.confusion th.col span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; display: inline-block; }
.confusion.numbered th.row { min-width: 220px; }
.confusion.dense.numbered th.row { min-width: 120px; }
.confusion.numbered th.col span { writing-mode: horizontal-tb; transform: none; }
.confusion td.hit { outline: 1.5px solid #33506f; outline-offset: -1.5px; }
.pairs th, .pairs td { text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.pairs th { color: var(--soft); font-weight: 600; font-size: 13px; }
.pairs td.num, .pairs th.num { text-align: right; }
.film { display: grid; grid-template-columns: 270px minmax(0, 1fr); gap: 18px; padding: 12px 0; border-top: 1px solid var(--line); align-items: center; }
.film:first-of-type { border-top: 0; }
.film .file { color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
.film dl { display: grid; grid-template-columns: auto minmax(0, 1fr); column-gap: 10px; margin: 0 0 3px; line-height: 1.35; }
.film dt { color: var(--soft); font-size: 12px; line-height: 20px; }
.film dd { margin: 0; }
.film img { border-radius: 5px; }
.said { color: var(--bad); font-weight: 600; overflow-wrap: anywhere; }
.true { color: var(--good); font-weight: 600; overflow-wrap: anywhere; }
.answers { display: grid; grid-template-columns: 150px minmax(0, 1fr); gap: 8px 22px; margin: 0; }
.answers dt { font-weight: 600; color: var(--soft); }
.answers dd { margin: 0; overflow-wrap: anywhere; }
.answers dd p { margin: 0 0 4px; }
.answers table { font-size: 13px; margin-top: 6px; overflow-wrap: normal; }
.answers td:first-child { overflow-wrap: anywhere; min-width: 160px; }
pre { background: #eef1f4; border-radius: 6px; padding: 9px 12px; margin: -4px 0 14px; font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--blue); }
@media (max-width: 760px) { .side, .many, .film, .answers { grid-template-columns: minmax(0, 1fr); } }
@media print { body { background: #fff; } section, .card, .film { break-inside: avoid; } }
"""


_START = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="mar-edge/report/1">"""

REPORT = FileKind("report", lambda file: file.read(len(_START)) == _START.encode())


def escape(text: str) -> str:
    """Return HTML that shows a text literally, and its control characters as escapes."""
    return html.escape(printable_lines(text))


def page(title: str, sections: list[str]) -> str:
    """Return a complete HTML page that loads no external resources.

    Args:
        title: plain text.
        sections: HTML.
    """
    return "\n".join(
        [
            _START,
            # nothing is fetched and nothing runs, whatever a file name or a label contains
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{escape(title)}</h1>",
            *sections,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )
