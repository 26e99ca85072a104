"""A model and several processes: a fork is told what to do instead, a spawned process gets the same graph."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import mar_edge
from mar_edge.errors import EngineError
from mar_edge.runtime.model import Model
from mar_edge.runtime.streams.session import Session
from tests.conftest import ROOT, need
from tests.fakes.bundle import BrightnessEngine
from tests.fakes.family import write_family

PROGRAM = """
import multiprocessing, sys, threading, time
import numpy, mar_edge

clip = numpy.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=numpy.uint8)


def use(what, results):
    try:
        if what == "load":
            what = mar_edge.load("egomotion", engine=sys.argv[1])
        results.put(str(what.classify(clip).top(1)))
    except mar_edge.MarEdgeError as error:
        results.put(f"{type(error).__name__}: {error}")


def infer():
    while not stop.is_set():
        model.classify(clip)


def say(kind, what):
    context = multiprocessing.get_context(kind)
    results = context.Queue()
    process = context.Process(target=use, args=(what, results))
    process.start()
    print(results.get(timeout=60))
    process.join()


if __name__ == "__main__":
    model = mar_edge.load("egomotion", engine=sys.argv[1])
    print(model.classify(clip).top(1))
    stop = threading.Event()
    thread = threading.Thread(target=infer)  # an engine's threads and locks are busy while processes are made
    thread.start()
    time.sleep(0.2)
    for _ in range(3):
        say("fork", model)
    say("spawn", model)
    stop.set()
    thread.join()
    say("fork", "load")
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_no_process_hangs(tmp_path: Path, engine: str) -> None:
    need(find_spec(engine) is not None, f"{engine} is not installed")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-W", "ignore", str(program), engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    expected, *forks, spawned, loaded = done.stdout.splitlines()
    assert len(forks) == 3
    for line in forks:
        assert line.startswith("EngineError: this model was loaded in process ")
        assert line.endswith("Call mar_edge.load in each process, or start processes with 'spawn'")
    assert spawned == expected
    assert loaded == expected


def test_what_is_pickled_is_the_same_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_family(tmp_path / "tiny.mar", masks=(0, 50), precisions=("fp32", "int8"))
    monkeypatch.chdir(tmp_path)
    model = mar_edge.load("tiny.mar", mask=0, precision="int8", threads=1)
    sent = pickle.dumps(model)
    assert len(sent) < 2000
    monkeypatch.chdir("/")
    received = pickle.loads(sent)
    assert (received.variant, received.reason) == (model.variant, model.reason)
    assert (received.variant.mask, received.variant.precision) == (0, "int8")
    clips = np.random.default_rng(0).integers(0, 256, (1, 8, 32, 64, 3), dtype=np.uint8)
    assert np.array_equal(received.engine.infer(clips), model.engine.infer(clips))
    assert pickle.dumps(received) == sent
    assert copy.deepcopy(model).variant == model.variant


def test_what_cannot_be_pickled_says_what_to_do(tmp_path: Path) -> None:
    engine = BrightnessEngine(tmp_path / "fake.mar")
    for what, says in (
        (engine, r"an engine \(fake\) cannot be pickled. Send the model returned by mar_edge.load, or load it in each"),
        (Session(engine), "a session cannot be pickled. Send the model to the process, and call its session"),
        (Model(engine), "a model with a custom engine cannot be pickled. Create it in each process"),
    ):
        with pytest.raises(EngineError, match=says):
            pickle.dumps(what)


@pytest.mark.parametrize("use", ["infer", "classify", "session", "push", "stream"])
def test_everything_that_infers_looks_at_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str) -> None:
    engine = BrightnessEngine(tmp_path / "fake.mar")
    model = Model(engine)
    session = model.session()
    frame = np.zeros((32, 32, 3), np.uint8)
    calls: dict[str, Callable[[], object]] = {
        "infer": lambda: engine.infer(frame[None, None].repeat(4, 1)),
        "classify": lambda: model.classify(frame[None].repeat(4, 0)),
        "session": model.session,
        "push": lambda: session.push(frame, 0.0),
        "stream": lambda: model.stream("demo"),
    }
    calls[use]()
    monkeypatch.setattr("mar_edge.runtime.engines.engine.os.getpid", lambda: -1)
    with pytest.raises(EngineError, match="process -1 is a fork of it, where the engine does not work"):
        calls[use]()
    assert session.frames == (use == "push")
