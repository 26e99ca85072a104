"""An export onto its own source: no graph and no weights are lost without a word."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mar_edge.bundle import Bundle, open_bundle
from mar_edge.errors import OutputError
from mar_edge.export import family as families
from mar_edge.export.calibration_options import CalibrationOptions
from mar_edge.export.exporter import export
from mar_edge.export.int8 import calibrate
from mar_edge.export.replaced import Replaced
from mar_edge.export.triton import write_triton
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from tests.fakes.family import INFO, TINY, write_family


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_family(tmp_path_factory.mktemp("family") / "m.mar", precisions=("fp32", "fp16"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def plain(folder: Path) -> Path:
    return folder


def through_a_link(folder: Path) -> Path:
    link = folder.parent.parent / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.parent)
    return link / folder.name


def from_within(folder: Path) -> Path:
    return Path(os.path.relpath(folder))


@pytest.mark.parametrize("same", [plain, through_a_link, from_within])
@pytest.mark.parametrize(
    ("masks", "precisions", "lost"),
    [
        (None, ["fp16"], "mask 50 fp32"),
        (None, ["fp32"], "mask 50 fp16"),
        (None, ["bf16"], "mask 50 fp32, mask 50 fp16"),
        ([75], ["fp32", "fp16"], "mask 50 fp32, mask 50 fp16"),
    ],
)
def test_what_would_be_lost_is_named_before_the_work(
    source: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    same: Callable[[Path], Path],
    masks: list[int] | None,
    precisions: list[str],
    lost: str,
) -> None:
    monkeypatch.setattr(families, "write_graph", None)  # nothing is written
    before = contents(source.path)
    with pytest.raises(OutputError, match=f"is the source itself, and would lose {lost}. Choose another .*--force"):
        export(source.path, same(source.path), masks=masks, precisions=precisions)
    assert contents(source.path) == before
    assert list(source.path.parent.iterdir()) == [source.path]


def test_with_all_graphs_or_by_force_it_is_replaced(tmp_path: Path) -> None:
    path = write_family(tmp_path / "m.mar", precisions=("fp32",)).path
    again = export(path, path, precisions=["fp32"])
    assert [variant.title for variant in again.bundle.manifest.variants] == ["mask 50 fp32"]
    Replaced.of(path, path, force=True).check([])
    Replaced.of(path, tmp_path / "other.mar", force=False).check([])


def test_a_graph_that_misses_its_bounds_is_not_lost_either(source: Bundle) -> None:
    replaced = Replaced.of(source.path, source.path, force=False)
    replaced.check([(50, "fp32", "any"), (50, "fp16", "any"), (75, "fp32", "any")])
    with pytest.raises(OutputError, match=r"would lose mask 50 fp16 \(mask 50 fp16: the error is too large\)\."):
        replaced.check([(50, "fp32", "any")], ["mask 50 fp16: the error is too large"])


def test_no_output_replaces_what_is_read(source: Bundle, tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    checkpoint.save(weights, build(TINY), TINY, INFO)
    before = weights.read_bytes()
    with pytest.raises(OutputError, match="is read by this command, so it cannot be its output"):
        export(weights, weights, force=True)
    assert weights.read_bytes() == before
    bundle = write_family(tmp_path / "m.mar", precisions=("fp32",)).path
    (bundle / "clips").mkdir()
    for call in (
        lambda: export(bundle, bundle, data=bundle / "clips", force=True),
        lambda: calibrate(bundle, CalibrationOptions(data=bundle / "clips"), force=True),
        lambda: write_triton(open_bundle(bundle), bundle.parent, force=True),
    ):
        with pytest.raises(OutputError, match="which this command reads, so it cannot be its output"):
            call()
