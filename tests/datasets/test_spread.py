"""A sample of a long list."""

from __future__ import annotations

from mar_edge.datasets.spread import spread


def test_a_sample_is_spread_over_the_list_in_its_order() -> None:
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread("abc", 3) == spread("abc", 9) == ["a", "b", "c"]
    assert spread([], 3) == []
