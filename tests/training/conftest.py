"""What the tests of training share."""

from __future__ import annotations

import pytest

from mar_edge.datasets import clip_reader
from mar_edge.training.synthetic import film_store
from tests.fakes.filming.inline import in_this_process


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos are decoded and films are made in this process."""
    for module in (clip_reader, film_store):
        monkeypatch.setattr(module, "over_all_cores", in_this_process)
