"""Labels that are probably one class, and those that are not."""

from __future__ import annotations

import pytest

from mar_edge.datasets.label_likeness import doubts, likeness, nearest


def say(*labels: str, numbers: bool = False) -> list[str]:
    return doubts(dict.fromkeys(labels, 1), numbers=numbers)


@pytest.mark.parametrize(
    ("labels", "difference"),
    [
        (["Jump", "jump", "JUMP"], "upper and lower case"),
        (["Straße", "STRASSE"], "upper and lower case"),
        (["caf\u00e9", "cafe\u0301"], "their Unicode form"),
        (["\ufb01t", "fit"], "their Unicode form"),
        (["\uff33it", "Sit"], "their Unicode form"),
        (["7", "007"], "leading zeros"),
        (["take 7", "take 07"], "leading zeros"),
        (["Sit ", "Sit"], "spaces"),
        (["Sit  down", "Sit down"], "spaces"),
        (["Sit\u00a0down", "Sit down"], "spaces"),
        (["pan_left", "pan-left"], "separators"),
        (["pan left", "panleft"], "separators"),
        (["pan\u2010left", "pan\u2014left"], "separators"),
        (["don't", "don\u2019t"], "separators"),
        (["Jump\u200b", "Jump"], "invisible characters"),
        (["Ju\u00admp", "Jump"], "invisible characters"),
        (["\u2066Jump\u2069", "Jump"], "invisible characters"),
        (["S\u0456t", "Sit"], "letters of another script"),
        (["Pan_Left", "pan left"], "upper and lower case and separators"),
    ],
)
def test_labels_that_are_probably_one_class(labels: list[str], difference: str) -> None:
    (said,) = say(*labels, "walk")
    assert f"differ only in {difference}: they are probably one class" in said
    assert said.count("(1 video)") == len(labels)
    assert "walk" not in said
    assert len({likeness(label) for label in labels}) == 1
    for label in labels[1:]:
        assert nearest(label, ["other", labels[0], "another"]) == labels[0]


@pytest.mark.parametrize(
    "labels",
    [
        ["-10 degrees", "10 degrees"],
        ["turn -10", "turn 10"],
        ["1-2", "12"],
        ["v1.05", "v1.5"],
        ["C", "C++"],
        ["1", "10", "100", "0"],
        ["left", "right"],
        ["cafe", "caf\u00e9"],
        ["-", "_"],
        ["\u2191", "\u2193"],
        ["坐", "站"],
    ],
)
def test_labels_that_are_different(labels: list[str]) -> None:
    assert say(*labels) == []


def test_what_cannot_be_told_apart_is_shown_escaped() -> None:
    assert "'cafe\\u0301' (1 video) and 'caf\\xe9' (1 video)" in say("caf\u00e9", "cafe\u0301")[0]
    assert "'Jump' (1 video) and 'Jump\\u200b' (1 video)" in say("Jump", "Jump\u200b")[0]
    assert "'Sit' (3 videos) and 'Sit ' (1 video)" in doubts({"Sit": 3, "Sit ": 1}, numbers=False)[0]


def test_numbers() -> None:
    assert say("1", "01", "0", numbers=True) == [
        "labels '01' (1 video) and '1' (1 video) differ only in leading zeros: they are read as one class, 1"
    ]
    assert say("0", "1", "2", numbers=True) == []
    assert say("1", "2", numbers=True) == [
        "the labels are numbers that start at 1, so class 0 has no video; classes are counted from 0"
    ]


def test_missing_labels_and_many_groups() -> None:
    assert say("nan", "walk") == ["label 'nan': is this a class, or does it stand for a missing label?"]
    said = say(*(form for index in range(12) for form in (f"class {index} x", f"Class {index} x")))
    assert len(said) == 11 and said[-1] == "2 more groups of labels look alike"


def test_the_nearest_label() -> None:
    assert nearest("JUMP", ["Jump", "Run"]) == "Jump"
    assert nearest("Jmup", ["Jump", "Run"]) == "Jump"
    assert nearest("PANLEFTT", ["pan_left", "x"]) == "pan_left"
    assert nearest("swim", ["Jump", "Run"]) is None
