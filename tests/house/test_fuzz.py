"""Changed files of every kind are read, or refused with an error of mar-edge; `benchmarks/fuzz.py` feeds 10,000."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from tests.fakes.hostile.device_targets import TARGETS, feed

INPUTS = 60


@pytest.mark.parametrize("kind", TARGETS)
def test_changed_files_are_read_or_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "files"
    folder.mkdir()
    target = TARGETS[kind](folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for number in range(INPUTS):
        started = time.monotonic()
        refused += feed(target, number) is not None
        assert time.monotonic() - started < 10, f"input {number} of {kind} takes too long"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "in KB"
    # a damaged cache is used as if it were empty; of every other kind some must be refused, or nothing was tested
    assert refused > 5 or kind in ("clip cache", "measurements", "TensorRT engine cache")
