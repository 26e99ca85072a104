"""TensorRT at run time, against a fake of the modules that enforces their rules; none of this has run on a GPU."""

from __future__ import annotations

import gc
import importlib.util
import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from mar_edge.bundle import Bundle, write_manifest
from mar_edge.errors import EngineError, MissingExtraError, OptionError, OutputError
from mar_edge.files.atomic_file import write_whole
from mar_edge.files.graph_files import hash_file
from mar_edge.runtime.engines.registry import create_engine
from mar_edge.runtime.engines.tensorrt import cache as tensorrt_cache
from mar_edge.runtime.engines.tensorrt import cuda as tensorrt_cuda
from mar_edge.runtime.engines.tensorrt import versions as tensorrt_versions
from mar_edge.runtime.engines.tensorrt.cache import build_to_file
from mar_edge.runtime.engines.tensorrt.engine import TensorRTEngine
from tests.conftest import ROOT
from tests.fakes.bundle import manifest
from tests.fakes.gpu.computer import JETSON, ORIN, RTX, T4, TENSORRT
from tests.fakes.gpu.cuda import ForeignContext, Machine
from tests.fakes.gpu.graph import CLIP, write_graph
from tests.fakes.gpu.tensorrt import VERSIONS


def write_bundle(folder: Path, kind: int = TensorProto.FLOAT, **changes: object) -> Bundle:
    """Write a bundle with one graph."""
    folder.mkdir(exist_ok=True)
    write_graph(folder / "mask50-fp32.onnx", kind)
    values = manifest()
    values["variants"][0].update(sha256=hash_file(folder / "mask50-fp32.onnx"), **changes)
    values.pop("format")
    write_manifest(folder, values)
    return Bundle(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle whose graph is real."""
    return write_bundle(tmp_path / "tiny.mar")


@pytest.fixture
def clips(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Seven clips."""
    return rng.integers(0, 256, (7, *CLIP), dtype=np.uint8)


def load(bundle: Bundle, said: list[str] | None = None, **options: object) -> TensorRTEngine:
    """Load the bundle's only graph."""
    say = (lambda _message: None) if said is None else said.append
    (variant,) = bundle.manifest.variants
    return TensorRTEngine(bundle.manifest, variant, bundle.graph_path(variant), say=say, **options)  # type: ignore[arg-type]


def expected(bundle: Bundle, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what ONNX Runtime gives."""
    return create_engine(bundle, bundle.manifest.variants[0]).infer(clips)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_computes_what_onnx_runtime_computes(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8], version: str
) -> None:
    machine = install(version)
    module = version.split()[0]
    engine = create_engine(bundle, bundle.manifest.variants[0], module.replace("_", "-"))
    assert engine.name == module.replace("_", "-")
    for _ in range(2):
        np.testing.assert_allclose(engine.infer(clips), expected(bundle, clips), atol=1e-5)
        np.testing.assert_allclose(engine.infer(clips[:1]), expected(bundle, clips[:1]), atol=1e-5)
    assert machine.live["memory"] == machine.live["pinned memory"] == 2
    assert machine.live["stream"] == 1
    assert machine.current is None
    assert engine.layer_precisions() == (None if version == JETSON else {"classifier.head/MatMul": "fp32"})
    engine.close()
    engine.close()
    assert machine.left() == {"primary context": 1}
    with pytest.raises(EngineError, match="is closed; load the model again"):
        engine.infer(clips)


def test_a_graph_of_cuda_calls_is_captured_once_where_the_batch_is_fixed(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8]
) -> None:
    machine = install(TENSORRT)
    engine = load(bundle)
    results = [engine.infer(clip[None]) for clip in clips]
    np.testing.assert_allclose(np.concatenate(results), expected(bundle, clips), atol=1e-5)
    assert machine.calls.count("cuStreamEndCapture") == 1
    assert machine.calls.count("cuGraphLaunch") == len(clips) - 1
    assert machine.calls.count("execute_async_v3") == 2  # once before the capture, and once for it
    results[0][:] = 0  # the caller's own
    assert engine.infer(clips[:1]).any()


@pytest.mark.parametrize(
    "call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "execute_async_v3"]
)
def test_without_a_graph_of_cuda_calls_it_runs_all_the_same(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8], call: str
) -> None:
    machine = install(TENSORRT)
    said: list[str] = []
    engine = load(bundle, said)
    machine.fail = (call, 2 if call == "execute_async_v3" else 1)
    np.testing.assert_allclose(engine.infer(clips), expected(bundle, clips), atol=1e-5)
    assert len(said) == 2
    assert said[1].startswith(
        "TensorRT 11.4.0.106: no CUDA graph could be captured, so every inference takes a little longer: "
    )
    engine.close()
    assert machine.left() == {"primary context": 1}


def test_a_batch_profile_takes_several_clips_at_once(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8]
) -> None:
    machine = install(TENSORRT)
    engine = load(bundle, batch=(2, 2, 4))
    np.testing.assert_allclose(engine.infer(clips[:2]), expected(bundle, clips[:2]), atol=1e-5)
    machine.calls.clear()
    np.testing.assert_allclose(engine.infer(clips), expected(bundle, clips), atol=1e-5)
    assert machine.calls.count("execute_async_v3") == 2  # 4 and 3 of 7
    np.testing.assert_allclose(engine.infer(clips[:1]), expected(bundle, clips[:1]), atol=1e-5)  # filled up to 2
    assert "cuStreamBeginCapture_v2" not in machine.calls
    with pytest.raises(OptionError, match="batch 1:4:2 is invalid; give smallest:typical:largest"):
        load(bundle, batch=(1, 4, 2))


# ---- whose context


def test_an_application_keeps_its_own_context(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8]
) -> None:
    machine = install(TENSORRT, ORIN, T4)
    foreign = ForeignContext()
    machine.stack.append(foreign)  # another library's, which PyCUDA does not see
    engine = load(bundle)
    engine.infer(clips[:2])
    assert machine.stack == [foreign]
    engine.close()
    assert machine.stack == [foreign]
    assert machine.calls.count("retain_primary_context") == 1
    engine = load(bundle)  # the primary context is kept
    assert machine.calls.count("retain_primary_context") == 1


def test_a_context_of_pycuda_is_shared(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8]
) -> None:
    machine = install(TENSORRT, ORIN, T4)
    cuda = sys.modules["pycuda.driver"]
    own = cuda.Device(0).make_context()
    engine = load(bundle)
    engine.infer(clips[:3])
    engine.close()
    assert cuda.Context.get_current() is own
    assert machine.stack == [own]
    assert machine.left() == {"context": 1}
    other = load(bundle, device=1)  # the application's is on another GPU
    other.infer(clips[:1])
    assert machine.stack == [own]
    other.close()
    assert machine.left() == {"context": 1, "primary context": 1}
    own.pop()
    own.detach()


def test_threads_infer_in_turn(install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8]) -> None:
    machine = install(TENSORRT)
    engine = load(bundle)
    results: dict[int, NDArray[np.float32]] = {}

    def work(index: int) -> None:
        for _ in range(5):
            results[index] = engine.infer(clips[index : index + 1])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(clips))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = np.concatenate([results[index] for index in range(len(clips))])
    np.testing.assert_allclose(got, expected(bundle, clips), atol=1e-5)
    closer = threading.Thread(target=engine.close)  # and another thread may close it
    closer.start()
    closer.join()
    assert machine.left() == {"primary context": 1}


def test_it_is_freed_with_the_object(install: Callable[..., Machine], bundle: Bundle) -> None:
    machine = install(TENSORRT)
    engine = load(bundle)
    assert machine.live["engine"] == 1
    del engine
    gc.collect()
    assert machine.left() == {"primary context": 1}


def test_it_is_freed_when_the_process_ends(tmp_path: Path) -> None:
    """Engines first, then the context, although nobody closes them."""
    script = f"""
import atexit
atexit.register(lambda: print(machine.left(), machine.broken, machine.stack))  # runs last
import os, sys, types
from pathlib import Path
os.environ["MAR_EDGE_CACHE"] = {str(tmp_path / "cache")!r}
from mar_edge.runtime.engines.tensorrt import cuda_graph as tensorrt_cuda_graph
from tests.fakes.gpu.cuda import DriverLibrary, Machine, make_driver
from tests.fakes.gpu.tensorrt import make_module
from tests.fakes.gpu.computer import ORIN, TENSORRT
from tests.runtime.engines.test_tensorrt_engine import load, write_bundle
machine = Machine(ORIN)
package = types.ModuleType("pycuda")
package.driver = sys.modules["pycuda.driver"] = make_driver(machine)
package.__spec__ = package.driver.__spec__
sys.modules["pycuda"] = package
sys.modules["tensorrt"] = make_module(TENSORRT, machine)
tensorrt_cuda_graph.open_driver = lambda: DriverLibrary(machine)
engines = [load(write_bundle(Path({str(tmp_path)!r}) / f"{{i}}.mar")) for i in range(2)]
import numpy as np
engines[0].infer(np.zeros((2, 4, 32, 32, 3), np.uint8))
print(machine.live["engine"], machine.live["graph"])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "2 1"
    assert done.stdout.splitlines()[1].startswith("{} [] ")
    assert not done.stderr


# ---- what goes wrong


@pytest.mark.parametrize("version", [TENSORRT, JETSON, RTX])
def test_whatever_fails_frees_everything(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8], version: str, tmp_path: Path
) -> None:
    machine = install(version)
    engine = load(bundle, module=version.split()[0])
    machine.calls.clear()
    engine.infer(clips[:1])
    used = dict.fromkeys(machine.calls)
    engine.close()
    ending = {"pop", "detach", "free", "free pinned", "add_optimization_profile"}
    loading = [
        "push",
        "deserialize_cuda_engine",
        "create_execution_context",
        "Stream",
        "pagelocked_empty",
        "mem_alloc",
        "set_tensor_address",
    ]
    for call in [*loading, *(["create_runtime_config"] if version == RTX else [])]:
        for at in (1, 2):
            machine.calls.clear()
            machine.fail = (call, at)
            try:
                broken = load(bundle, module=version.split()[0])
            except EngineError as error:
                assert len(str(error)) > 40, call  # a reason, and what to do
            else:
                assert call == "deserialize_cuda_engine" or at == 2, call  # built again, or never called twice
                broken.close()
            machine.fail = None
            gc.collect()
            assert machine.left() == {"primary context": 1}, call
            assert machine.stack == [], call
    for call in used.keys() - ending - {"push"}:
        engine = load(bundle, module=version.split()[0])
        machine.calls.clear()
        machine.fail = (call, 1)
        with pytest.raises(EngineError):
            engine.infer(clips[:1])
        machine.fail = None
        assert machine.stack == []
        engine.close()
        assert machine.left() == {"primary context": 1}, call


def test_memory_that_does_not_suffice_is_said(install: Callable[..., Machine], bundle: Bundle) -> None:
    machine = install(TENSORRT, ("Nano", (8, 7), 1000))
    with pytest.raises(EngineError, match=r"GPU 0 \(Nano\) failed: .*out of memory; the GPU's memory is full"):
        load(bundle)
    assert machine.left() == {"primary context": 1}


def test_a_computer_without_what_it_needs(
    install: Callable[..., Machine], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    install(TENSORRT, machine=machine)
    with pytest.raises(EngineError, match=r"no CUDA-capable device.*Check nvidia-smi"):
        load(bundle)
    install(TENSORRT, ORIN)
    with pytest.raises(EngineError, match="there is no GPU 3; CUDA reports 1, counted from 0"):
        load(bundle, device=3)
    monkeypatch.setenv("MAR_EDGE_CUDA_DEVICE", "one")
    with pytest.raises(OptionError, match="MAR_EDGE_CUDA_DEVICE is 'one', not the number of a GPU"):
        load(bundle)
    for name in ("pycuda", "pycuda.driver", "tensorrt"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"TensorRT is not installed. Run: pip install 'mar-edge\[tensorrt\]'"):
        load(bundle)


@pytest.mark.parametrize(("version", "extra"), [(TENSORRT, "tensorrt"), (RTX, "tensorrt-rtx")])
def test_without_pycuda_the_extra_of_the_engine_is_named(
    install: Callable[..., Machine], bundle: Bundle, monkeypatch: pytest.MonkeyPatch, version: str, extra: str
) -> None:
    install(version)
    found = importlib.util.find_spec
    monkeypatch.setattr("mar_edge.extras.find_spec", lambda name: None if name == "pycuda" else found(name))
    with pytest.raises(MissingExtraError, match=rf"pycuda is not installed. Run: pip install 'mar-edge\[{extra}\]'"):
        load(bundle, module=extra)


def test_a_gpu_is_chosen_by_option_or_variable(
    install: Callable[..., Machine], bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(TENSORRT, ORIN, T4)
    monkeypatch.setenv("MAR_EDGE_CUDA_DEVICE", "1")
    load(bundle).close()
    load(bundle, device=0).close()
    names = sorted(path.name for path in (tmp_path / "cache" / "tensorrt").glob("*.engine"))
    sha = bundle.manifest.variants[0].sha256[:16]
    assert names == [f"{sha}-tensorrt-Orin-8.7.engine", f"{sha}-tensorrt-Tesla-T4-7.5.engine"]


# ---- the engines that are kept


def engine_file(tmp_path: Path) -> Path:
    """Return the only engine in the cache."""
    (file,) = (tmp_path / "cache" / "tensorrt").glob("*.engine")
    return file


def test_an_engine_is_built_once(install: Callable[..., Machine], bundle: Bundle, tmp_path: Path) -> None:
    machine = install(TENSORRT)
    said: list[str] = []
    load(bundle, said).close()
    load(bundle, said).close()
    assert machine.calls.count("build_serialized_network") == 1
    assert said == [
        "building the TensorRT 11.4.0.106 engine for tiny mask 50 fp32 on Orin: there is none yet. "
        "This takes minutes, and is done once"
    ]
    assert [path.suffix for path in sorted((tmp_path / "cache" / "tensorrt").iterdir())] == [
        ".engine",
        ".lock",
        ".timings",
    ]


def test_a_stale_engine_is_built_again(install: Callable[..., Machine], bundle: Bundle, tmp_path: Path) -> None:
    install(JETSON)
    load(bundle).close()
    install(TENSORRT)
    said: list[str] = []
    load(bundle, said).close()
    assert len(said) == 2
    assert "belongs to another configuration: its version is 10.3.0, not 11.4.0.106. This takes minutes" in said[0]
    assert "Orin-8.7.timings is of another version or GPU, or damaged; kernels are measured again" in said[1]
    said.clear()
    load(bundle, said, workspace_mib=64).close()
    load(bundle, said).close()  # whichever workspace it was built with
    assert len(said) == 1
    assert "its workspace_mib is 0, not 64" in said[0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "header"])
def test_a_damaged_engine_is_built_again(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8], tmp_path: Path, damage: str
) -> None:
    install(TENSORRT)
    load(bundle).close()
    file = engine_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(
        {
            "cut": whole[:-100],
            "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
            "empty": b"",
            "text": b"not an engine",
            "header": whole.replace(b'"batch"', b'"botch"'),
        }[damage]
    )
    said: list[str] = []
    engine = load(bundle, said)
    assert len(said) == 1
    assert f"{file.name} is damaged" in said[0]
    np.testing.assert_allclose(engine.infer(clips), expected(bundle, clips), atol=1e-5)
    assert file.read_bytes() == whole


def test_a_foreign_engine_is_not_trusted(
    install: Callable[..., Machine], bundle: Bundle, tmp_path: Path, clips: NDArray[np.uint8]
) -> None:
    install(TENSORRT, T4)
    load(bundle).close()
    file = engine_file(tmp_path)
    machine = install(TENSORRT, ORIN)
    file.rename(file.with_name(file.name.replace("Tesla-T4-7.5", "Orin-8.7")))
    said: list[str] = []
    load(bundle, said).close()
    assert "its gpu is Tesla T4, not Orin" in said[0]
    # one that says it is ours and does not load, as after an exchange of libraries
    said.clear()
    machine.fail = ("deserialize_cuda_engine", 1)
    machine.calls.clear()
    engine = load(bundle, said)
    assert "cannot be loaded. This takes minutes" in said[0]
    engine.infer(clips[:1])


def test_a_full_disk_only_costs_the_next_build(
    install: Callable[..., Machine], bundle: Bundle, monkeypatch: pytest.MonkeyPatch, clips: NDArray[np.uint8]
) -> None:
    install(TENSORRT)

    def full(path: Path, *parts: bytes) -> None:
        if path.suffix == ".engine":
            raise OutputError(f"cannot write {path}: No space left on device. Make room")
        write_whole(path, *parts)

    monkeypatch.setattr(tensorrt_cache, "write_whole", full)
    said: list[str] = []
    load(bundle, said).infer(clips[:1])
    assert said[1].startswith("the engine is not cached, and will be built again next time: cannot write")
    with pytest.raises(OutputError, match="No space left"):
        build_to_file(bundle.graph_path(bundle.manifest.variants[0]), bundle.manifest.variants[0], module="tensorrt")


def test_an_unwritable_cache_names_its_variable(
    install: Callable[..., Machine], bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(TENSORRT)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAR_EDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="Set MAR_EDGE_CACHE"):
        load(bundle)


def _hold(path: Path, held: Event, release: Event) -> None:
    with tensorrt_cache._locked(path, lambda _message: None):
        held.set()
        release.wait(10)


def test_two_processes_do_not_build_the_same(install: Callable[..., Machine], bundle: Bundle) -> None:
    install(TENSORRT)
    load(bundle).close()  # makes the folder, and the engine
    variant = bundle.manifest.variants[0]
    place = tensorrt_cuda.CudaPlace()
    dialect = tensorrt_versions.load("tensorrt")
    key = tensorrt_cache.key_of(variant, dialect, place.gpu)
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(key.path, held, release))
    other.start()
    try:
        assert held.wait(20)
        said: list[str] = []
        threading.Timer(0.3, release.set).start()
        load(bundle, said).close()
        assert said == [f"another process is building {key.path.name}; waiting for it"]
    finally:
        release.set()
        other.join()


# ---- built ahead


def test_an_engine_built_ahead_is_found(install: Callable[..., Machine], bundle: Bundle, tmp_path: Path) -> None:
    machine = install(TENSORRT)
    variant = bundle.manifest.variants[0]
    out = tmp_path / "out" / "fake.engine"
    built = build_to_file(
        bundle.graph_path(variant), variant, module="tensorrt", out=out, batch=(1, 2, 4), workspace_mib=256
    )
    assert (built.gpu.name, built.size_bytes) == ("Orin", out.stat().st_size)
    assert built.layers is not None
    assert built.layers.summary() == "1 in fp32"
    header = json.loads(out.read_bytes().split(b"\n")[0])
    assert header["workspace"] == {"WORKSPACE": 256 << 20}
    assert [shape[0] for shape in header["profile"]["frames"]] == [1, 2, 4]
    said: list[str] = []
    load(bundle, said).close()
    assert not said
    assert machine.calls.count("build_serialized_network") == 1
    assert machine.stack == []


def test_rtx_builds_ahead_without_a_gpu(
    install: Callable[..., Machine], bundle: Bundle, clips: NDArray[np.uint8], tmp_path: Path
) -> None:
    variant = bundle.manifest.variants[0]
    install(RTX, machine=Machine())
    assert (
        build_to_file(bundle.graph_path(variant), variant, module="tensorrt-rtx").gpu.compute_capability
        == "8.0 and newer"
    )
    with pytest.raises(EngineError, match=r"CUDA cannot be started: .*no CUDA-capable device"):
        load(bundle, module="tensorrt_rtx")
    said: list[str] = []
    machine = install(RTX, ORIN)
    engine = load(bundle, said, module="tensorrt_rtx")
    np.testing.assert_allclose(engine.infer(clips), expected(bundle, clips), atol=1e-5)
    engine.close()
    assert not said
    assert "build_serialized_network" not in machine.calls
    (kernels,) = (tmp_path / "cache" / "tensorrt").glob("*.kernels")
    assert kernels.read_bytes() == b"kernels of tensorrt_rtx 1.7.1.116"
    kernels.write_bytes(b"of another driver")
    load(bundle, said, module="tensorrt_rtx").close()
    assert "kernels are compiled again" in said[0]
    # Turing needs an engine of its own
    said.clear()
    install(RTX, T4)
    load(bundle, said, module="tensorrt_rtx").close()
    assert "there is none yet" in said[0]
    (file,) = (tmp_path / "cache" / "tensorrt").glob("*7.5.engine")
    assert b'"targets": ["SM75"]' in file.read_bytes()


def test_tensorrt_does_not_build_ahead_without_a_gpu(install: Callable[..., Machine], bundle: Bundle) -> None:
    install(TENSORRT, machine=Machine())
    with pytest.raises(EngineError, match="no CUDA-capable device"):
        build_to_file(bundle.graph_path(bundle.manifest.variants[0]), bundle.manifest.variants[0], module="tensorrt")


# ---- the precision that was asked for


def test_an_engine_of_another_precision_is_refused(install: Callable[..., Machine], tmp_path: Path) -> None:
    install(TENSORRT)
    lied = write_bundle(tmp_path / "lied.mar", precision="fp16")
    with pytest.raises(EngineError, match=r"but not in fp16: classifier.head/MatMul of 1 product is not \(1 in fp32\)"):
        load(lied)
    assert not list((tmp_path / "cache" / "tensorrt").glob("*.engine"))
    kept = write_bundle(tmp_path / "kept.mar", precision="fp16", kept=["classifier.head"])
    load(kept).close()
    half = write_bundle(tmp_path / "half.mar", TensorProto.FLOAT16, precision="fp16")
    assert load(half).layer_precisions() == {"classifier.head/MatMul": "fp16"}


def test_a_version_that_does_not_tell_precisions_is_said(install: Callable[..., Machine], bundle: Bundle) -> None:
    install(JETSON)
    said: list[str] = []
    load(bundle, said).close()
    assert said[1].endswith("does not report the precision of its layers, so fp32 is not confirmed")
