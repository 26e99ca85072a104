"""Step graphs in TensorRT: whose states stay on the GPU. Against the fake; none of this has run on a GPU."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.bundle import Bundle
from mar_edge.errors import EngineError
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.engines.stream_state import StreamState
from mar_edge.runtime.engines.tensorrt.engine import TensorRTEngine
from mar_edge.runtime.engines.tensorrt.gpu_state import Block, GpuState, groups
from tests.conftest import ROOT
from tests.fakes.gpu.computer import JETSON, MEMORY, ORIN, RTX, T4, TENSORRT
from tests.fakes.gpu.cuda import Machine
from tests.fakes.step_graphs import films, write_steps

Install = Callable[..., Machine]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A step graph with rows of which one alone is not aligned as TensorRT wants it."""
    return write_steps(tmp_path_factory.mktemp("steps") / "steps.mar", masks=(75,))


@pytest.fixture(scope="module")
def film() -> NDArray[np.uint8]:
    """Forty steps."""
    frames: NDArray[np.uint8] = films(1, 40)[0].reshape(40, 1, 2, 32, 32, 3)
    return frames


@pytest.fixture(scope="module")
def expected(bundle: Bundle, film: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What ONNX Runtime answers after each, (40, 1, classes)."""
    return run(create_engine(bundle, bundle.manifest.variants[0]), film)


def load(bundle: Bundle, said: list[str] | None = None, **options: object) -> TensorRTEngine:
    """Load the bundle's only graph."""
    say = (lambda _message: None) if said is None else said.append
    (variant,) = bundle.manifest.variants
    return TensorRTEngine(bundle.manifest, variant, bundle.graph_path(variant), say=say, **options)  # type: ignore[arg-type]


def run(engine: Engine, film: NDArray[np.uint8], state: StreamState | None = None) -> NDArray[np.float32]:
    """Run the steps of one stream."""
    state = state or engine.new_state()
    return np.stack([engine.step(step, [state]) for step in film])


@pytest.mark.parametrize("version", [TENSORRT, JETSON, RTX])
def test_every_version_runs_steps(
    install: Install, bundle: Bundle, film: NDArray[np.uint8], expected: NDArray[np.float32], version: str
) -> None:
    machine = install(version)
    engine = load(bundle, module=version.split()[0])
    np.testing.assert_allclose(run(engine, film[:12]), expected[:12], atol=1e-5)
    engine.close()
    with pytest.raises(EngineError, match="is closed; load the model again"):
        run(engine, film[:1])
    gc.collect()
    assert machine.left() == {"primary context": 1}


def test_keys_and_values_do_not_leave_the_gpu(install: Install, bundle: Bundle, film: NDArray[np.uint8]) -> None:
    machine = install(TENSORRT)
    engine = load(bundle)
    fixed = machine.live["memory"]
    state = engine.new_state()
    assert machine.live["memory"] == fixed + 2  # of encoder and bridge
    machine.calls.clear()
    run(engine, film[:10], state)
    assert machine.calls.count("memcpy_htod_async") == 3 * 10  # frames, clock and bias
    assert machine.calls.count("memcpy_dtoh_async") == 10  # logits
    assert machine.calls.count("Memcpy3D") == 2 * 10  # into the slot: of the encoder, of the bridge
    assert machine.calls.count("set_tensor_address") == 4  # at the first step
    assert not {"memcpy_htod", "memcpy_dtoh", "mem_alloc", "pagelocked_empty"} & set(machine.calls)
    del state
    assert machine.live["memory"] == fixed
    engine.close()
    assert machine.left() == {"primary context": 1}


def test_each_lasting_stream_gets_a_graph_of_cuda_calls(
    install: Install, bundle: Bundle, film: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    machine = install(TENSORRT)
    engine = load(bundle)
    states = [engine.new_state() for _ in range(2)]
    for number, step in enumerate(film):
        for state in states:
            np.testing.assert_allclose(engine.step(step, [state]), expected[number], atol=1e-5)
    assert machine.calls.count("cuStreamEndCapture") == 2
    assert machine.calls.count("cuGraphLaunch") == 2 * (40 - 32)  # after four bands
    short = engine.new_state()
    run(engine, film[:3], short)  # others may run in between
    del short, state
    states.pop()
    assert machine.live["graph"] == 1
    engine.close()
    assert "graph" not in machine.left()
    saved = states[0].to_arrays()  # a state outlives its engine
    again = load(bundle)
    restored = again.new_state()
    restored.from_arrays(saved)
    assert again.layout is not None
    assert all(np.array_equal(saved[name], restored.to_arrays()[name]) for name in again.layout.names)
    restored.clear()
    np.testing.assert_allclose(run(again, film[:9], restored), expected[:9], atol=1e-5)
    states.clear()
    del restored
    again.close()
    assert machine.left() == {"primary context": 1}


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_without_a_graph_of_cuda_calls_a_stream_runs_all_the_same(
    install: Install, bundle: Bundle, film: NDArray[np.uint8], expected: NDArray[np.float32], call: str
) -> None:
    machine = install(TENSORRT)
    said: list[str] = []
    engine = load(bundle, said)
    machine.fail = (call, 1)
    np.testing.assert_allclose(run(engine, film), expected, atol=1e-5)
    assert len(said) == 2  # that it is built, and this once
    assert "no CUDA graph could be captured" in said[1]


@pytest.mark.parametrize("batch", [(1, 2, 4), (2, 2, 2)])
def test_a_batch_of_streams_is_gathered_on_the_gpu(
    install: Install, bundle: Bundle, batch: tuple[int, int, int], film: NDArray[np.uint8]
) -> None:
    machine = install(TENSORRT, ("Orin", (8, 7), 4 * MEMORY))
    engine, plain = load(bundle, batch=batch), create_engine(bundle, bundle.manifest.variants[0])
    assert engine.max_batch == batch[2]
    pairs = [(engine.new_state(), plain.new_state()) for _ in range(5)]
    for late, pair in enumerate(pairs):
        for state in pair:
            state.skip(late)  # each with a clock of its own
    for number in range(12):
        frames = np.concatenate(list(np.roll(film, number, axis=0)[:5]))
        machine.calls.clear()
        got = engine.step(frames, [state for state, _ in pairs])
        np.testing.assert_allclose(got, plain.step(frames, [state for _, state in pairs]), atol=1e-5)
        assert machine.calls.count("execute_async_v3") == (2 if batch[2] == 4 else 3)
        assert not {"memcpy_htod", "memcpy_dtoh"} & set(machine.calls)
    clips = film.reshape(5, 16, 32, 32, 3)
    machine.calls.clear()
    np.testing.assert_allclose(engine.every_step(clips), plain.every_step(clips), atol=1e-5)
    assert machine.calls.count("execute_async_v3") == 8 * (2 if batch[2] == 4 else 3)  # clips in a batch as well
    machine.calls.clear()
    got = engine.step(film[0], [pairs[3][0]])
    np.testing.assert_allclose(got, plain.step(film[0], [pairs[3][1]]), atol=1e-5)
    gathered = 0 if batch[0] == 1 else 2  # one stream is read where it is, if the engine takes one
    assert machine.calls.count("Memcpy3D") == 2 + gathered
    assert "cuStreamBeginCapture_v2" not in machine.calls


def test_a_call_that_fails_costs_one_step(install: Install, bundle: Bundle, film: NDArray[np.uint8]) -> None:
    machine = install(TENSORRT)
    engine, plain = load(bundle), create_engine(bundle, bundle.manifest.variants[0])
    run(engine, film[:1])
    state, other = engine.new_state(), plain.new_state()
    run(engine, film[:8], state)
    run(plain, film[:8], other)
    machine.calls.clear()
    run(engine, film[:1])
    calls = [call for call in dict.fromkeys(machine.calls) if call not in ("pop", "free", "mem_alloc", "memset_d8")]
    assert {"push", "memcpy_htod_async", "execute_async_v3", "Memcpy3D", "synchronize", "set_tensor_address"} <= {
        *calls
    }
    for number, call in enumerate(calls):
        run(engine, film[:1])  # so that the next step is of another stream than the last
        machine.calls.clear()
        machine.fail = (call, 1)
        with pytest.raises(EngineError):
            engine.step(film[9], [state])
        machine.fail = None
        other.skip()
        assert machine.stack == []
        np.testing.assert_allclose(
            run(engine, film[10 + number :][:2], state), run(plain, film[10 + number :][:2], other), atol=1e-5
        )
    del state
    engine.close()
    assert machine.left() == {"primary context": 1}


def test_a_full_gpu_is_said_and_what_was_taken_is_freed(install: Install, bundle: Bundle) -> None:
    machine = install(TENSORRT)
    engine = load(bundle)
    fixed = machine.live["memory"]
    for call, at in (("mem_alloc", 1), ("mem_alloc", 2), ("memset_d8", 2)):
        machine.calls.clear()
        machine.fail = (call, at)
        with pytest.raises(EngineError, match=r"GPU 0 \(Orin\) failed: "):
            engine.new_state()
        machine.fail = None
        gc.collect()
        assert machine.live["memory"] == fixed
    engine.close()


def test_a_state_belongs_to_a_gpu(install: Install, bundle: Bundle, film: NDArray[np.uint8]) -> None:
    install(TENSORRT, ORIN, T4)
    engine, same, other = load(bundle), load(bundle), load(bundle, device=1)
    plain = create_engine(bundle, bundle.manifest.variants[0])
    state = engine.new_state()
    run(engine, film[:3], state)
    run(same, film[3:4], state)  # another engine of the graph on this GPU
    for stranger, foreign in ((engine, other), (engine, plain), (plain, engine)):
        with pytest.raises(EngineError, match="of another engine, mask or precision; get one from new_state"):
            stranger.step(film[0], [foreign.new_state()])
    with pytest.raises(EngineError, match=r"on the GPU and cannot be pickled. Send what its to_arrays returns"):
        pickle.dumps(state)
    # a stream moves from an engine to another, and back
    moved = plain.new_state()
    moved.take_over(state)
    back = other.new_state()
    back.take_over(moved)
    rest = run(engine, film[4:9], state)
    np.testing.assert_allclose(run(plain, film[4:9], moved), rest, atol=1e-5)
    np.testing.assert_allclose(run(other, film[4:9], back), rest, atol=1e-5)


def test_a_state_may_outlive_its_context(install: Install, bundle: Bundle, film: NDArray[np.uint8]) -> None:
    machine = install(TENSORRT)
    cuda = sys.modules["pycuda.driver"]
    own = cuda.Device(0).make_context()
    engine = load(bundle)
    state = engine.new_state()
    run(engine, film[:2], state)
    engine.close()
    blocks = state.blocks  # type: ignore[attr-defined]
    own.pop()
    for block in blocks:  # with the context
        block._memory.valid = False
    machine.memory.clear()
    machine.live["memory"] = 0
    own.detach()
    machine.stack.clear()
    del state, blocks, block
    gc.collect()
    assert machine.left() == {}


def test_tensors_begin_where_tensorrt_reads_them(install: Install, bundle: Bundle) -> None:
    install(RTX)
    engine = load(bundle, module="tensorrt_rtx")
    state = engine.new_state()
    assert isinstance(state, GpuState)
    assert state.layout.attentions == ((2, 16), (3, 8))
    assert [group.names for group in groups(state.layout)] == [("k0", "v0"), ("k1", "v1")]
    rng = np.random.default_rng(0)
    kept = [rng.normal(size=shape).astype(np.float32) for shape in state.layout.shapes(7)]
    state.store(kept)
    assert all(np.array_equal(a, b) for a, b in zip(state.fetch(), kept, strict=True))
    for block in state.blocks:
        assert isinstance(block, Block)
        assert all(block.tensor(index) % 256 == 0 for index in range(2))
    assert state.blocks[1].rows == 4  # three heads of 896 bytes each do not end at one


# in a process of its own, which ends with everything still there
ENDING = """
import atexit
atexit.register(lambda: print(machine.left(), machine.broken))  # runs last
import sys
import types
from pathlib import Path
import numpy as np
from mar_edge.bundle import Bundle
from mar_edge.runtime.engines.tensorrt import cuda_graph as tensorrt_cuda_graph
from tests.fakes.gpu.computer import ORIN, TENSORRT
from tests.fakes.gpu.cuda import DriverLibrary, Machine, make_driver
from tests.fakes.gpu.tensorrt import make_module
from tests.runtime.engines.test_tensorrt_steps import load
machine = Machine(ORIN)
package = types.ModuleType("pycuda")
package.driver = sys.modules["pycuda.driver"] = make_driver(machine)
package.__spec__ = package.driver.__spec__
sys.modules["pycuda"] = package
sys.modules["tensorrt"] = make_module(TENSORRT, machine)
tensorrt_cuda_graph.open_driver = lambda: DriverLibrary(machine)
engine = load(Bundle(Path(sys.argv[1])))
states = [engine.new_state() for _ in range(2)]
for _ in range(34):
    engine.step(np.zeros((1, 2, 32, 32, 3), np.uint8), states[:1])
print(machine.live["graph"], machine.live["memory"])
"""


def test_states_are_freed_when_the_process_ends(bundle: Bundle, tmp_path: Path) -> None:
    """States first, then their engine, then the context, although nobody closes them."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING, str(bundle.path)],
        cwd=ROOT,
        env={**os.environ, "MAR_EDGE_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["1 10", "{} []"]
    assert not done.stderr
