"""Counts and their nouns: one function for all of them."""

from __future__ import annotations

import re

import pytest

from mar_edge.counting import counted, counted_of, form
from tests.conftest import ROOT

NOUNS = "videos|clips|windows|views|events|tensors|gaps|inferences|labels|classes|models"
BY_HAND = re.compile(rf"\{{([^{{}}]+)\}} (?:more |other |different |distinct )?(?:{NOUNS})\b")
NO_COUNT = re.compile(r":\.|RATE|map\(|^'|^[A-Z_]+$")
"""Rates, texts, and constants of several."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (counted(0, "video"), "0 videos"),
        (counted(1, "video"), "1 video"),
        (counted(1000, "more class"), "1,000 more classes"),
        (counted(2, "entry", "is", "are"), "2 entries are"),
        (counted(1, "entry", "is", "are"), "1 entry is"),
        (counted_of(1, 1, "window"), "1 of 1 window"),
        (counted_of(1, 2, "window", "is", "are"), "1 of 2 windows is"),
        (form(0, "it", "them"), "them"),
    ],
)
def test_nouns_and_verbs_agree(text: str, expected: str) -> None:
    assert text == expected


def test_no_message_makes_a_plural_by_hand() -> None:
    found = []
    for path in sorted((ROOT / "mar_edge").rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            counts = [one for one in BY_HAND.findall(line) if not NO_COUNT.search(one)]
            found += [f"{path.relative_to(ROOT)}:{number}: {one}" for one in counts]
    assert found == []
