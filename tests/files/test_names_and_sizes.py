"""Sizes with units, and names of files that are made from foreign text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.errors import OptionError
from mar_edge.files.byte_size import parse_size
from mar_edge.files.file_name import name_part


@pytest.mark.parametrize(
    ("text", "size"),
    [("100MB", 10**8), ("100 mb", 10**8), ("1.5GB", 1_500_000_000), ("64KiB", 65536), ("10G", 10**10), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "7", "-1MB", "1e3", "nanMB", "1,5GB", "10 apples", "0", "0.1B", "1" * 40])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(OptionError, match="is not a size|too small"):
        parse_size(text)


@given(st.text())
def test_any_text_becomes_a_part_of_a_name(text: str) -> None:
    part = name_part(text)
    assert part
    assert not part.startswith((".", "-"))
    assert not set(part) & set("/\\:*?\"'<>| \n\t\0")
    assert len(part.encode()) <= 60
    assert name_part(part) == part


def test_usual_names_stay() -> None:
    assert [name_part(text) for text in ("door", "camera 0", "picking_up", "打电话")] == [
        "door",
        "camera_0",
        "picking_up",
        "打电话",
    ]
