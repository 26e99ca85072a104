"""What the tests of engines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.gpu.computer import installing
from tests.fakes.gpu.cuda import Machine


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Put a version of TensorRT on a computer with these GPUs; what is broken or left over fails the test."""
    yield from installing(monkeypatch, tmp_path / "cache")
