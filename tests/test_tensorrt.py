"""Our graphs go through TensorRT's real parser and builder. TensorRT-RTX builds without a GPU; it cannot run here."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from mar_edge.bundle import open_bundle
from mar_edge.export.graph import write_graph
from mar_edge.model.config import ModelConfig, build
from tests.conftest import need
from tests.test_export import TINY


@pytest.fixture
def trt() -> Any:
    """The TensorRT-RTX module."""
    need(find_spec("tensorrt_rtx") is not None, "tensorrt-rtx-cu12 is not installed")
    import tensorrt_rtx

    return tensorrt_rtx


def build_engine(trt: Any, path: Path, batch: int = 1) -> bytes:
    """Parse and build; every message of the parser or builder that is an error fails the test."""
    errors: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                errors.append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(path.read_bytes()), [parser.get_error(index).desc() for index in range(parser.num_errors)]
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    shape = (batch, *tuple(network.get_input(0).shape)[1:])
    profile.set_shape("frames", (1, *shape[1:]), shape, (2 * batch, *shape[1:]))
    config.add_optimization_profile(profile)
    assert network.get_input(0).dtype == trt.uint8
    assert network.get_output(0).dtype == trt.float32
    engine = builder.build_serialized_network(network, config)
    assert engine is not None, errors
    assert not errors
    return bytes(engine)


@pytest.mark.parametrize("mask", [0.0, 0.5, 0.75])
def test_a_small_graph_builds(trt: Any, tmp_path: Path, mask: float) -> None:
    torch.manual_seed(0)
    write_graph(build(TINY), mask, tmp_path / "graph.onnx")
    assert len(build_engine(trt, tmp_path / "graph.onnx")) > 10_000


def test_a_dense_videomae_graph_builds(trt: Any, tmp_path: Path) -> None:
    config: ModelConfig = replace(TINY, classifier="mean_pool", decoder_depth=0, layer_scale=True)
    write_graph(build(config), 0.0, tmp_path / "graph.onnx")
    assert len(build_engine(trt, tmp_path / "graph.onnx")) > 10_000


def test_egomotion_builds(trt: Any) -> None:
    bundle = open_bundle("egomotion")
    for variant in bundle.manifest.variants:
        assert len(build_engine(trt, bundle.graph_path(variant))) > variant.size_bytes // 4
