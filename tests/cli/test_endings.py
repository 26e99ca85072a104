"""How commands end: without a traceback, whatever is wrong with the streams, the disk or the terminal."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from mar_edge.cli.endings import one_line
from mar_edge.errors import OutputError
from mar_edge.training.interrupts import Interrupts
from tests.conftest import need
from tests.fakes.video_files import write_video

PROGRAM = f"{sys.executable} -m mar_edge"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of bash; `mar-edge` is ours."""
    command = f'mar-edge() {{ {PROGRAM} "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", [index / 10 for index in range(30)])


@pytest.mark.parametrize("command", ["--help", "models", "classify {clip} --json -"])
@pytest.mark.parametrize(
    ("streams", "code"),
    [
        (">&-", 1),
        ("2>&-", 0),
        ("<&- 2>&-", 0),
        ("<&- >&- 2>&-", 1),
        (">/dev/full", 1),
        ("2>/dev/full", 0),
        (">/dev/full 2>/dev/full", 1),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path: Path, clip: Path, command: str, streams: str, code: int) -> None:
    done = shell(f"mar-edge {command.format(clip=clip)} {streams}")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr
    if code and "2>" not in streams:
        assert done.stderr.splitlines()[-1].startswith("mar-edge: cannot write to stdout: ")
    if not code:
        assert done.stdout


def test_a_reader_that_goes_away_is_one_line() -> None:
    done = shell("mar-edge inspect egomotion | head -c 1; exit ${PIPESTATUS[0]}")
    assert done.returncode == 1
    assert done.stderr == "mar-edge: the reader of stdout has closed the pipe\n"


def test_without_streams_nothing_but_records_gets_into_a_file(tmp_path: Path, clip: Path) -> None:
    """The file must not get the number of a closed stream, into which libraries print."""
    out = tmp_path / "o.jsonl"
    data = clip.read_bytes()
    (tmp_path / "damaged.mp4").write_bytes(data[: len(data) // 2] + bytes(2000) + data[len(data) // 2 + 2000 :])
    shell(f"mar-edge run --source {tmp_path}/damaged.mp4 --json {out} <&- >&- 2>&-")
    done = shell(f"mar-edge run --source {clip} --json {out} <&- >&- 2>&-")
    assert done.returncode == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[-1]["type"] == "summary"


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME", "MAR_EDGE_CACHE", "TERM", "COLUMNS", "LINES"])
def test_odd_environments(clip: Path, name: str) -> None:
    for value in ("", "/nonexistent", "~nobody-of-that-name/x", "1"):
        done = shell(f"mar-edge classify {clip}", **{name: value})
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_a_disk_that_is_full(tmp_path: Path, clip: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    for words in (["inspect", "egomotion", "--png", tmp_path / "o.png"], ["classify", clip, "--json", tmp_path / "o"]):
        command = [sys.executable, "-m", "mar_edge", *map(str, words)]
        done = subprocess.run(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=limit, timeout=60
        )
        assert done.returncode == 1, done.stderr
        assert "File too large" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] in ([], ["o"])


def wait_for_lines(out: Path, process: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + 60
    while not (out.exists() and out.read_text().count("\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_writes_what_is_left(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "o.jsonl"
    command = [sys.executable, "-m", "mar_edge", "run", "--source", "demo:loops=forever", "--json", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for_lines(out, process)
    process.send_signal(number)
    process.send_signal(number)  # a terminal that closes may send several
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert json.loads(out.read_text().splitlines()[-1])["type"] == "summary"


def test_nohup_goes_on_after_the_terminal(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    command = ["nohup", sys.executable, "-m", "mar_edge", "run", "--source", "demo:loops=forever", "--json", str(out)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for_lines(out, process)
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("moment_s", [0, 0.5])  # at once: also while the line is being written, which is written once
def test_other_commands_clean_up_and_leave(number: signal.Signals, moment_s: float) -> None:
    code = (
        "import mar_edge.cli.main as m, time\n"
        "def app():\n"
        "    try: print('ready', flush=True); time.sleep(60)\n"
        "    finally: print('cleaned up')\n"
        "m.app = app; m.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(moment_s)
    process.send_signal(number)
    said, told = process.communicate(timeout=30)
    assert (said, told, process.returncode) == ("cleaned up\n", "", 128 + number)


@pytest.mark.parametrize("moment", ["append", "acquire"])
def test_a_signal_within_the_handler_of_another_one_ends_the_command(moment: str) -> None:
    """As `timeout` and a closing terminal send several at once."""
    code = (
        "import signal, time, mar_edge.cli.endings as e, mar_edge.cli.main as m\n"
        "class Received(list):\n"
        "    def append(self, number):\n"
        "        super().append(number)\n"
        "        if len(self) == 1: signal.raise_signal(signal.SIGTERM)\n"
        "class Lock:\n"
        "    def __init__(self, lock): self.lock = lock\n"
        "    def acquire(self, blocking):\n"
        "        got = self.lock.acquire(blocking)\n"
        "        if got: signal.raise_signal(signal.SIGTERM)\n"
        "        return got\n"
        f"if {moment == 'append'}: e._received = Received()\n"
        "else: e._unhandled = Lock(e._unhandled)\n"
        "def app():\n"
        "    e.interrupt_on_signals()\n"
        "    print('ready', flush=True); time.sleep(60)\n"
        "m.app = app; m.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    try:
        _, told = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (told, process.returncode) == ("", 130)


@pytest.mark.parametrize(("cause", "code"), [("KeyboardInterrupt", 130), ("SystemExit", 143), ("ValueError", 1)])
def test_a_library_whose_loading_is_interrupted_leaves_no_traceback(cause: str, code: int) -> None:
    program = (
        "import signal, mar_edge.cli.endings as e, mar_edge.cli.main as m\n"
        "def app():\n"
        "    e._received.append(signal.SIGTERM)\n"
        f"    try: raise {cause}\n"
        "    except BaseException as error: raise ImportError('initialization failed') from error\n"
        "m.app = app; m.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (code, cause == "ValueError")


STUCK = {
    "c": "import ctypes; c = ctypes.CDLL(None); lock = ctypes.create_string_buffer(64)\n"
    "    c.pthread_mutex_init(lock, None); c.pthread_mutex_lock(lock); print('ready', flush=True); c.pthread_mutex_lock(lock)",
    "graph": "import numpy, onnxruntime; run = onnxruntime.InferenceSession(sys.argv[1]).run\n"
    "    print('ready', flush=True); run(None, {'start': numpy.zeros(1, numpy.float32)})",
    "cleaning": "import time\n"
    "    try: print('ready', flush=True); time.sleep(60)\n"
    "    finally:\n"
    "        while True: time.sleep(60)",
}
"""What does not end: a call into C, a graph with a loop, and code that cleans up."""


def write_endless_graph(path: Path) -> Path:
    """Write a graph with a loop of 10^12 rounds."""
    need(find_spec("onnx") is not None, "onnx is not installed")
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["again"]), helper.make_node("Add", ["x", "one"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("more", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, [1])],
        [value("again", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "go", "start"], ["end"], body=body)],
        "graph",
        [value("start", TensorProto.FLOAT, [1])],
        [value("end", TensorProto.FLOAT, [1])],
        [
            helper.make_tensor("rounds", TensorProto.INT64, [], [10**12]),
            helper.make_tensor("go", TensorProto.BOOL, [], [True]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("stuck", STUCK)
@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGHUP)])
def test_a_second_signal_ends_what_is_stuck(tmp_path: Path, stuck: str, numbers: tuple[int, int]) -> None:
    graph = write_endless_graph(tmp_path / "endless.onnx") if stuck == "graph" else tmp_path
    code = f"import sys, mar_edge.cli.main as m\ndef app():\n    {STUCK[stuck]}\nm.app = app; m.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, graph],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # until it is in C
    process.send_signal(numbers[0])
    process.send_signal(numbers[0])  # at once: the same event
    assert process.stderr.readline() == "mar-edge: stopping; a second Ctrl-C or signal ends it at once\n"
    assert process.poll() is None
    process.send_signal(numbers[1])
    _, told = process.communicate(timeout=10)
    assert (told, process.returncode) == ("", 130)


def test_signals_of_a_forked_process_are_its_own() -> None:
    code = (
        "import os, signal, time, mar_edge.cli.main as m\n"
        "def app():\n"
        "    for _ in range(3):\n"
        "        if not (child := os.fork()): signal.pause(); os._exit(0)\n"
        "        time.sleep(0.6); os.kill(child, signal.SIGTERM); os.waitpid(child, 0)\n"
        "    print('done')\n"
        "m.app = app; m.main()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_training_notes_a_hang_up_unless_it_is_ignored() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.signal == signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_errors_of_the_machine_are_one_line_and_faults_of_ours_are_not() -> None:
    assert one_line(OutputError("a\n  b")) == "a b"
    assert one_line(OSError(errno.ENOSPC, "No space left on device", "x.png")) == (
        "x.png: No space left on device. Make room, or choose another path"
    )
    assert one_line(MemoryError()) == "there is not enough memory. Close other programs"
    assert one_line(FileNotFoundError(errno.ENOENT, "No such file", "ours")) is None
    assert one_line(ValueError("ours")) is None
