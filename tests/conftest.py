"""What the tests share: where real data lies, and how a test says that it needs something."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mar_edge  # noqa: F401 - before any test module imports ONNX Runtime, whose telemetry it switches off

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("MAR_EDGE_SHARED", ROOT.parent / "shared"))
IN_CI = os.environ.get("MAR_EDGE_CI") == "1"


def need(there: bool, reason: str) -> None:
    """Skip a test that lacks something; in CI nothing may be lacking."""
    if there:
        return
    if IN_CI:
        pytest.fail(f"CI must have this: {reason}")
    pytest.skip(reason)


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what was imported: with torch, a collection takes a quarter of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def device_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own: what was measured or built here before must not change what is tested."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAR_EDGE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def shared_traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What torch's exporter returned for the same model, for all processes of this run; see `tests.fakes.traces`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "traces").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAR_EDGE_TEST_TRACES", str(folder / "traces"))
        if "torch" in sys.modules:  # some test of this run needs it
            importlib.import_module("tests.fakes.traces")
        yield


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference implementations' numbers."""
    folder = SHARED / "golden"
    need(folder.is_dir(), f"no reference numbers in {folder}")
    return folder


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder of real videos."""
    folder = SHARED / "clips"
    need(folder.is_dir(), f"no real videos in {folder}")
    return folder


@pytest.fixture(scope="session")
def arid() -> Path:
    """Folder of the labelled real clips."""
    folder = SHARED / "data" / "arid"
    need(folder.is_dir(), f"no labelled clips in {folder}")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture
def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A camera's picture, uint8 (48, 64, 3)."""
    return rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
