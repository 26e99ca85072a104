"""What the tests of the export share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mar_edge.model import checkpoint
from mar_edge.model.config import build
from tests.fakes.tiny_model import INFO, TINY


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, trained at 50 %."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, build(TINY), TINY, INFO)
    return path
