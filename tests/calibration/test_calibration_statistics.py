"""What is collected from clips: exact, resumable, and never silently from fewer clips."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mar_edge.calibration import collection
from mar_edge.calibration.collection import ADVISED_CLIPS, cache_file, collect, too_few
from mar_edge.calibration.statistics import BINS, Statistics, TensorStatistics
from mar_edge.errors import ExportError, OutputError, SourceError
from mar_edge.export.graph import write_graph
from tests.conftest import ROOT
from tests.fakes.films import moving_square, write_film
from tests.fakes.realistic_model import realistic
from tests.fakes.tiny_model import TINY, tiny_clips


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny graph that behaves like a trained one."""
    path = tmp_path_factory.mktemp("graph") / "mask50-fp32.onnx"
    write_graph(realistic(TINY), 0.5, path)
    return path


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of four videos."""
    folder = tmp_path / "films"
    for index in range(4):
        write_film(folder / f"{index}.mp4", moving_square("left", index))
    return folder


def same(one: Statistics, two: Statistics) -> bool:
    """Whether two statistics agree in every bit."""
    return list(one.tensors) == list(two.tensors) and all(
        (a.low, a.high, a.count, a.exponent) == (b.low, b.high, b.count, b.exponent)
        and np.array_equal(a.histogram, b.histogram)
        and np.array_equal(a.channel_max, b.channel_max)
        for a, b in zip(one.tensors.values(), two.tensors.values(), strict=True)
    )


def test_statistics_are_those_of_the_activations(graph: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = tiny_clips(films)
    found = collect(graph, clips, cache=None).tensors
    # of each block two norms, four of attention, what the projection and the last layer take, two that skip a branch
    assert len(found) == 4 * 10 + 3  # and what embedding, bridge and head take
    name = "encoder.blocks.1.attn/Softmax"
    model = onnx.load(graph)
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.concatenate([session.run([name], {"frames": clip.frames[None]})[0] for clip in clips])
    tensor = found[name]
    assert tensor.count == values.size
    assert tensor.low == pytest.approx(values.min(), abs=1e-6)
    assert tensor.high == pytest.approx(values.max(), rel=1e-5)
    assert tensor.channel_max == pytest.approx(values.reshape(-1, values.shape[-1]).max(axis=0), rel=1e-4)
    counts, _ = np.histogram(values, BINS, range=(0, 2.0**tensor.exponent))
    assert np.abs(counts - tensor.histogram).sum() <= 0.01 * values.size
    # block by block it is the same, as a large model is run
    monkeypatch.setattr(collection, "SEGMENT_BYTES", 1)
    for name, other in collect(graph, clips, cache=None).tensors.items():
        assert other.largest == pytest.approx(found[name].largest, rel=1e-4)


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), min_size=1, max_size=6))
def test_the_order_of_clips_does_not_matter(clips: list[list[float]]) -> None:
    arrays = [np.array(values, np.float32)[:, None] for values in clips]
    forwards, backwards = TensorStatistics(), TensorStatistics()
    for values in arrays:
        forwards = forwards + TensorStatistics.of(values)
    for values in arrays[::-1]:
        backwards = backwards + TensorStatistics.of(values)
    whole = TensorStatistics.of(np.concatenate(arrays))
    for other in (backwards, whole):
        assert (forwards.exponent, forwards.largest, forwards.count) == (other.exponent, other.largest, other.count)
        assert np.array_equal(forwards.histogram, other.histogram)
    assert forwards.histogram.sum() == forwards.count


KILLED = """
import os, signal, sys
from pathlib import Path
from mar_edge.calibration import collection
from tests.fakes.tiny_model import tiny_clips
collection.SAVE_EVERY_S = 0.0
def progress(task, done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
graph, films, cache = map(Path, sys.argv[1:])
collection.collect(graph, tiny_clips(films), cache=cache, progress=progress)
"""


def test_a_killed_collection_goes_on_where_it_stopped(graph: Path, films: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "statistics.npz"
    kept = cache_file(cache, tiny_clips(films))
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(graph), str(films), str(cache)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    said: list[tuple[str, int, int]] = []
    resumed = collect(graph, tiny_clips(films), cache=cache, progress=lambda *said_now: said.append(said_now))
    assert said == [("reading activation ranges", 3, 4), ("reading activation ranges", 4, 4)]
    assert same(resumed, collect(graph, tiny_clips(films), cache=None))
    # and what is whole is not collected again
    assert same(
        resumed, collect(graph, tiny_clips(films), cache=cache, progress=lambda *said_now: said.append(said_now))
    )
    assert len(said) == 2
    assert [path.name for path in cache.parent.iterdir()] == [kept.name]


def test_a_bad_clip_is_named_and_the_others_are_kept(graph: Path, films: Path, tmp_path: Path) -> None:
    cache = tmp_path / "statistics.npz"
    clips = tiny_clips(films)
    whole = (films / "2.mp4").read_bytes()
    (films / "2.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(SourceError, match=r"2\.mp4"):
        collect(graph, clips, cache=cache)
    (films / "2.mp4").write_bytes(whole)
    said: list[tuple[str, int, int]] = []
    mended = collect(graph, tiny_clips(films), cache=cache, progress=lambda *said_now: said.append(said_now))
    assert len(said) == 2
    assert same(mended, collect(graph, tiny_clips(films), cache=None))
    clips = tiny_clips(films)
    (films / "3.mp4").unlink()
    with pytest.raises(SourceError, match=r"3\.mp4"):
        collect(graph, replace(clips, files=(films / "3.mp4",), windows=(1,)), cache=None)


def test_a_cache_of_something_else_is_not_used(graph: Path, films: Path, tmp_path: Path) -> None:
    name = tmp_path / "statistics.npz"
    cache = cache_file(name, tiny_clips(films))
    expected = collect(graph, tiny_clips(films), cache=None)

    def warns(match: str) -> None:
        warnings: list[str] = []
        assert same(collect(graph, tiny_clips(films, warnings=warnings), cache=name), expected)
        (message,) = warnings
        assert match in message and "collected again" in message

    model, other = onnx.load(graph), tmp_path / "other.onnx"
    model.graph.name = "other"
    onnx.save(model, other)
    collect(other, tiny_clips(films), cache=name)
    warns("belongs to another graph")
    cache.write_bytes(cache.read_bytes()[:1000])
    warns("is damaged")
    cache.write_bytes(b"")
    warns("is damaged")
    with cache.open("wb") as file:
        np.savez(file, something=np.zeros(3))
    warns("is damaged")
    # one video was exchanged since
    write_film(films / "0.mp4", moving_square("right", 9))
    warnings: list[str] = []
    collect(graph, tiny_clips(films, warnings=warnings), cache=name)
    assert "belongs to videos that have changed since" in warnings[0]


def test_the_statistics_of_several_sets_of_clips_stay(graph: Path, films: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "statistics.npz"
    said: list[tuple[str, int, int]] = []
    warnings: list[str] = []
    sets: list[tuple[Path | None, int]] = [(films, 4), (None, 4), (films, 2), (None, 2)]
    first = [
        collect(graph, tiny_clips(*one, warnings), cache=cache, progress=lambda *said_now: said.append(said_now))
        for one in sets
    ]
    assert len(said) == 12
    again = [
        collect(graph, tiny_clips(*one, warnings), cache=cache, progress=lambda *said_now: said.append(said_now))
        for one in sets
    ]
    assert len(said) == 12
    assert not warnings
    assert all(same(one, two) for one, two in zip(first, again, strict=True))


def test_a_cache_that_cannot_be_written(graph: Path, films: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the statistics"):
        collect(graph, tiny_clips(films), cache=tmp_path / "file" / "statistics.npz")


def test_what_int8_cannot_hold_is_refused(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    norm = next(node for node in model.graph.node if node.name == "encoder.blocks.1.norm1/LayerNormalization")
    gain: NDArray[np.float32] = np.full(TINY.width, np.inf, np.float32)
    norm.input[1] = "gain"
    model.graph.initializer.append(numpy_helper.from_array(gain, "gain"))
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(
        ExportError, match=r"'encoder\.blocks\.1\.norm1/LayerNormalization' has values that are NaN or inf"
    ):
        collect(tmp_path / "broken.onnx", tiny_clips(None, 1), cache=None)


def test_few_clips_are_told() -> None:
    assert too_few(ADVISED_CLIPS) is None
    assert str(ADVISED_CLIPS) in (too_few(4) or "")
