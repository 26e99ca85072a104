"""Steps of a streaming model are the same in every engine as torch's one pass with a mask over time.

TensorRT is a fake that enforces its rules and computes with ONNX Runtime: none of this has run on a GPU.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mar_edge.bundle import Bundle
from mar_edge.errors import EngineError, FrameError
from mar_edge.masking import running_places
from mar_edge.model.streaming import running_tokens
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import create_engine, load_graph
from mar_edge.runtime.engines.stream_state import StreamState
from tests.conftest import need
from tests.fakes.environment import has_bf16
from tests.fakes.gpu.computer import TENSORRT
from tests.fakes.gpu.cuda import Machine
from tests.fakes.step_graphs import RECEPTIVE_STEPS, STEPPING, films, stepping_model, torch_answers, write_steps

ENGINES = ("onnxruntime", "openvino", "tensorrt")

BOUNDS = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 5e-3}
"""Largest difference from torch as a share of the largest logit; in FP16 and BF16 keys and values are kept with 11 and 8 bits."""

Make = Callable[..., Engine]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Step graphs at two masks, and two that keep keys and values in 16 bits."""
    folder = tmp_path_factory.mktemp("steps") / "steps.mar"
    return write_steps(folder, masks=(50, 75), kept=("float16", "bfloat16"))


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest, bundle: Bundle, install: Callable[..., Machine]) -> Iterator[Make]:
    """Load a graph into an engine."""
    if request.param == "openvino":
        need(find_spec("openvino") is not None, "openvino is not installed")
    if request.param == "tensorrt":
        install(TENSORRT)
    made = []

    def load(mask: int = 50, precision: str = "fp32") -> Engine:
        made.append(create_engine(bundle, bundle.variant(mask=mask, precision=precision), request.param, threads=1))
        return made[-1]

    yield load
    for engine in made:
        engine.close()


def run(engine: Engine, frames: NDArray[np.uint8], state: StreamState | None = None) -> NDArray[np.float32]:
    """Run the steps of one stream, frames (2 * steps, H, W, 3); logits (steps, classes)."""
    state = state or engine.new_state()
    return np.concatenate([engine.step(step[None], [state]) for step in steps_of(frames)])


def steps_of(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return frames as time steps, (steps, 2, H, W, 3)."""
    return frames.reshape(-1, 2, *frames.shape[1:])


def assert_near(got: NDArray[np.float32], expected: NDArray[np.float32], bound: float = 1e-5) -> None:
    """The largest difference is within a share of the largest logit, and the classes are the same."""
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()
    assert np.array_equal(got.argmax(axis=-1), expected.argmax(axis=-1))


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_128_steps_are_one_pass_with_a_mask_over_time(make: Make, precision: str) -> None:
    if precision == "bf16" and not has_bf16():
        pytest.skip("this CPU has no BF16 arithmetic, which nobody can install")
    engine = make(precision=precision)
    assert engine.layout is not None
    assert engine.layout.kind == {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
    frames = films(1, 128)
    got = engine.every_step(frames)
    assert got.shape == (1, 128, 5)
    assert got.dtype == np.float32
    assert_near(got, torch_answers(frames), BOUNDS[precision])
    assert_near(engine.infer(frames), got[:, -1], 0)
    # they are of the middle of a stream, not of a window: what came before counts
    assert np.abs(got[:, -1] - engine.infer(frames[:, -16:])).max() > 1e-3


def test_slots_need_no_order(make: Make) -> None:
    engine, (film,) = make(), films(1, 24)
    whole = run(engine, film)
    state = engine.new_state()
    run(engine, film[:36], state)
    arrays = state.to_arrays()
    order = np.random.default_rng(3).permutation(len(arrays["held"]))
    for name, array in arrays.items():
        if name in ("held", "attended"):
            arrays[name] = array[order]
        elif array.ndim:
            _, heads, tokens, width = array.shape
            slots = array.reshape(heads, len(order), tokens // len(order), width)
            arrays[name] = slots[:, order].reshape(array.shape)
    mixed = engine.new_state()
    mixed.from_arrays(arrays)
    assert list(mixed.held) != list(state.held)
    assert_near(run(engine, film[36:], mixed), whole[18:])


def test_after_a_turn_of_the_clock_nothing_has_changed(make: Make) -> None:
    engine, (film,) = make(), films(1, 20)
    expected = run(engine, film)
    later = engine.new_state()
    later.skip(64 * 1000)
    assert np.array_equal(run(engine, film, later), expected)
    other = engine.new_state()
    other.skip(1)  # another phase of the mask
    assert not np.allclose(run(engine, film, other), expected, rtol=1e-3)


def test_steps_that_did_not_run_are_not_seen(make: Make) -> None:
    engine, frames = make(), films(1, 40)
    skipped = np.zeros((1, 40), np.bool_)
    skipped[0, [5, 17, 18, 19]] = True
    state = engine.new_state()
    got = []
    for missing, step in zip(skipped[0], steps_of(frames[0]), strict=True):
        if missing:
            state.skip()
        else:
            got.append(engine.step(step[None], [state]))
            assert (state.held != -1).sum() <= 7
    assert_near(np.concatenate(got), torch_answers(frames, skipped=skipped)[~skipped])


def test_an_answer_says_how_much_of_the_band_it_saw(make: Make) -> None:
    engine, (film,) = make(), films(1, 10)
    state = engine.new_state()
    assert state.warm == 0
    warm = []
    for step in steps_of(film):
        engine.step(step[None], [state])
        warm.append(state.warm)
    assert warm == [min(step, 8) / 8 for step in range(1, 11)]
    state.skip(3)
    engine.step(steps_of(film)[:1], [state])
    assert state.warm == 5 / 8
    state.skip(7)  # a gap as long as the band forgets everything
    assert np.array_equal(
        engine.step(steps_of(film)[:1], [state]), run(engine, film[:2], _at(engine.new_state(), state.step - 1))
    )
    assert state.warm == 1 / 8
    state.clear()
    assert np.array_equal(run(engine, film, state), run(engine, film))


def _at(state: StreamState, step: int) -> StreamState:
    state.skip(step)
    return state


def test_a_stream_goes_on_where_it_was_saved(make: Make) -> None:
    engine, (film,) = make(), films(1, 30)
    expected = run(engine, film)
    state = engine.new_state()
    run(engine, film[:40], state)
    file = io.BytesIO()
    np.savez(file, **state.to_arrays())  # type: ignore[arg-type]
    file.seek(0)
    again = make()  # another session
    restored = again.new_state()
    restored.from_arrays(dict(np.load(file)))
    assert (restored.step, restored.warm) == (20, 1)
    assert np.array_equal(run(again, film[40:], restored), expected[20:])
    run(engine, film[40:44], state)  # of its own, and not changed by it
    assert state.step == 22


def test_a_state_of_something_else_is_refused_and_changes_nothing(make: Make) -> None:
    engine, sparse, (film,) = make(), make(mask=75), films(1, 12)
    state = engine.new_state()
    run(engine, film[:16], state)
    kept = state.to_arrays()
    for wrong, what in (
        (sparse.new_state().to_arrays(), r"attended is \(\(7, 4\), .* expected \(\(7, 8\), "),
        (make(precision="fp16").new_state().to_arrays(), "k0 is .*float16.* expected .*float32"),
        ({name: array for name, array in kept.items() if name != "held"}, "held is None"),
        ({**kept, "more": np.zeros(1)}, "more is .* expected None"),
    ):
        with pytest.raises(EngineError, match=f"this state is of another model, mask or precision: {what}"):
            state.from_arrays(wrong)
    assert all(np.array_equal(array, kept[name]) for name, array in state.to_arrays().items())
    step = steps_of(film)[8:9]
    for states, why in (
        ([sparse.new_state()], "of another engine, mask or precision; get one from new_state"),
        ([make(precision="fp16").new_state()], "of another engine, mask or precision"),
        ([], "1 time step came with 0 states; give each its stream's own"),
        ([state, engine.new_state()], "1 time step came with 2 states"),
    ):
        with pytest.raises(EngineError, match=why):
            engine.step(step, states)
    with pytest.raises(EngineError, match="2 time steps came with 2 states; give each its stream's own"):
        engine.step(np.concatenate([step, step]), [state, state])
    strange: list[Any] = [step[:, :1], step.astype(np.float32), step[..., :1], step[:0]]
    for frames in strange:
        with pytest.raises(FrameError, match="the graph expects uint8"):
            engine.step(frames, [state] * len(frames))
    assert all(np.array_equal(array, kept[name]) for name, array in state.to_arrays().items())
    assert_near(run(engine, film[16:], state), run(engine, film)[8:], 0)


def test_a_higher_mask_goes_on_with_the_tokens_that_it_shows(make: Make) -> None:
    """As in torch, whose pass at the higher mask is given a part of the keys and values of the lower one."""
    dense, sparse, frames = make(mask=50), make(mask=75), films(1, 21)
    state = dense.new_state()
    run(dense, frames[0, :40], state)
    taken = sparse.new_state()
    taken.take_over(state)
    assert (taken.step, taken.warm) == (20, 1)
    assert taken.attended.all()
    got = sparse.step(steps_of(frames[0])[20:], [taken])

    model, grid = stepping_model(), STEPPING.geometry.grid
    before, now = running_places(grid, 0.5), running_places(grid, 0.75)
    tubelets = model._steps(torch.from_numpy(frames))
    visible = running_tokens(STEPPING.geometry, 0.5, 20)[None]
    with torch.no_grad():
        first = model.run(tubelets[:20], model._places(visible, torch.from_numpy(frames[:, :40])))
        shown = [
            index * len(before[0]) + list(before[step % 4]).index(place)
            for index, step in enumerate(range(13, 20))
            for place in now[step % 4]
        ]
        past = [tensor[:, :, shown] for tensor in first.kept]
        second = model.run(tubelets[20:], torch.from_numpy(now[20 % 4])[None, None], past=past, clock=20)
    assert second.logits is not None
    assert_near(got, second.logits[:, 0].numpy())
    # the state that was taken over is not changed
    expected = run(dense, frames[0])
    assert np.array_equal(run(dense, frames[0, 40:], state), expected[20:])


def test_a_lower_mask_fills_within_a_band(make: Make) -> None:
    dense, sparse, (film,) = make(mask=50), make(mask=75), films(1, 20 + RECEPTIVE_STEPS)
    state = sparse.new_state()
    run(sparse, film[:40], state)
    taken = dense.new_state()
    taken.take_over(state)
    assert taken.attended.mean() == 0.5
    later = []
    for number, step in enumerate(steps_of(film)[20:]):
        assert taken.attended.all() == (number >= 7)
        later.append(dense.step(step[None], [taken]))
    # once everything from before has left the field of view, it is as if the mask had never been another
    fresh = run(dense, film[40:], _at(dense.new_state(), 20))
    assert_near(later[-1], fresh[-1:])
    with pytest.raises(EngineError, match="of another model or precision; only the mask may differ"):
        dense.new_state().take_over(make(precision="fp16").new_state())


def test_streams_of_a_batch_do_not_touch_each_other(make: Make) -> None:
    engine, frames = make(), films(3, 26)
    starts = [0, 5, 11]  # each has a clock of its own
    alone = [run(engine, film, _at(engine.new_state(), start)) for film, start in zip(frames, starts, strict=True)]
    states = [_at(engine.new_state(), start) for start in starts]
    for number, step in enumerate(frames.reshape(3, 26, 2, *frames.shape[2:]).swapaxes(0, 1)):
        order = np.random.default_rng(number).permutation(3)
        got = engine.step(step[order], [states[row] for row in order])
        assert_near(got, np.stack([alone[row][number] for row in order]))


def test_a_step_that_fails_is_missing_and_the_stream_goes_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, frames = make(), films(1, 32)
    skipped = np.zeros((1, 32), np.bool_)
    skipped[0, [9, 20]] = True
    state, raw = engine.new_state(), engine._step
    got = []
    for missing, step in zip(skipped[0], steps_of(frames[0]), strict=True):
        if missing:
            with monkeypatch.context() as patch:  # as after an overflow, when keys and values are written already
                patch.setattr(engine, "_step", lambda *given: np.nan * raw(*given))
                with pytest.raises(EngineError, match="expected finite logits"):
                    engine.step(step[None], [state])
        else:
            got.append(engine.step(step[None], [state]))
    assert state.step == 32
    assert_near(np.concatenate(got), torch_answers(frames, skipped=skipped)[~skipped])


def test_the_result_and_the_frames_are_the_callers_own(make: Make) -> None:
    engine, (film,) = make(), films(1, 4)
    expected = run(engine, film)
    state, steps = engine.new_state(), steps_of(film).copy()
    first = engine.step(steps[:1], [state])
    steps[:1] = 0
    second = engine.step(steps[1:2], [state])
    assert np.array_equal(np.concatenate([first, second]), expected[:2])
    mirrored = np.ascontiguousarray(steps[2:3, :, :, ::-1])[:, :, :, ::-1]  # anywhere in memory
    mirrored.flags.writeable = False
    assert np.array_equal(engine.step(mirrored, [state]), expected[2:3])


def test_a_state_and_its_engine_end_apart(make: Make, bundle: Bundle) -> None:
    engine, (film,) = make(), films(1, 2)
    state = engine.new_state()
    run(engine, film, state)
    gone = weakref.ref(state)
    gc.disable()  # there is no circle that has to be found
    try:
        del state
        run(engine, film, engine.new_state())  # an engine may hold the last one's memory
        assert gone() is None
    finally:
        gc.enable()


def test_an_engine_and_its_states_stay_in_their_process(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, (film,) = make(), films(1, 1)
    state = engine.new_state()
    with pytest.raises(EngineError, match="cannot be pickled"):
        pickle.dumps(engine)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(EngineError, match=r"process -1 is a fork of it"):
            engine.step(film[None], [state])
    assert state.step == 0
    run(engine, film, state)


def test_a_thousand_steps_need_no_more_memory_and_forget_the_old(make: Make) -> None:
    engine, (film,) = make(), films(1, 50)
    state, steps = engine.new_state(), steps_of(film)
    count = 80 if engine.name == "tensorrt" else 1000  # the fake is slow
    tracemalloc.start()
    try:
        for number in range(count):
            last = engine.step(steps[number % 50][None], [state])
            if number == count // 2:
                gc.collect()
                before, native = tracemalloc.get_traced_memory()[0], _resident_bytes()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 100_000  # a state has 43 kB
        assert _resident_bytes() - native < 8 << 20
    finally:
        tracemalloc.stop()
    newest = np.concatenate([steps[number % 50] for number in range(count - RECEPTIVE_STEPS, count)])
    fresh = _at(engine.new_state(), count - RECEPTIVE_STEPS)
    assert_near(last, run(engine, newest, fresh)[-1:])


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_layers_are_told_as_of_a_whole_clip(bundle: Bundle, name: str) -> None:
    engine = create_engine(bundle, bundle.variant(mask=50, precision="fp32"), name)
    precisions, times = engine.layer_precisions(), engine.layer_times(films(1, 8), runs=2)
    assert precisions is not None
    assert times is not None
    parts = {"encoder.embed", "encoder.blocks.0.attn", "encoder.blocks.0.fc2", "classifier.reduce"}
    assert parts <= {name.partition("/")[0] for name in times}
    assert parts <= {name.partition("/")[0] for name in precisions}
    assert set(precisions.values()) == {"fp32"}
    assert min(times.values()) >= 0 < sum(times.values())


@pytest.mark.parametrize("name", ENGINES)
def test_a_graph_of_another_mask_is_refused(bundle: Bundle, install: Callable[..., Machine], name: str) -> None:
    if name == "tensorrt":
        install(TENSORRT)
    manifest, other = bundle.manifest, bundle.variant(mask=75, precision="fp32")
    values: dict[str, Any] = {"mask": 50}
    wrong = other.model_copy(update=values)
    with pytest.raises(
        EngineError, match=r"takes bias float32 \(batch, 1, 1, 32\), not .*64\).*at mask 50 fp32.*Export"
    ):
        load_graph(manifest, wrong, bundle.graph_path(other), name)
    window = manifest.model_copy(update={"temporal": "window"})
    with pytest.raises(EngineError, match=r"takes frames uint8 \(batch, 2, 32, 32, 3\), not .*16, 32, 32"):
        load_graph(window, other, bundle.graph_path(other), name)
