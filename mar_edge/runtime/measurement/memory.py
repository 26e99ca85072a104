"""How much memory an engine takes, measured in a separate process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mar_edge import errors
from mar_edge.bundle import Bundle
from mar_edge.child_process import run_python
from mar_edge.errors import EngineError, MarEdgeError
from mar_edge.manifest import Variant

STATUS = Path("/proc/self/status")


class Memory(NamedTuple):
    """Memory of an entire process, including Python, in MB of 1e6 bytes; None if the system does not report it.

    Attributes:
        held_mb: after an inference.
        peak_mb: maximum until then; loading needs most.
    """

    held_mb: float | None
    peak_mb: float | None


def measure_memory(bundle: Bundle, variant: Variant, engine: str, *, threads: int | None = None) -> Memory:
    """Load a graph and run it twice in a new process.

    Raises:
        EngineError: if that process fails, or the system ends it for lack of memory.
        MissingExtraError: if the engine is not installed.
    """
    arguments = [str(bundle.path), variant.file, engine, str(threads or 0)]
    done = run_python(f"from {__name__} import print_memory; print_memory()", *arguments)
    if done.returncode < 0:
        raise EngineError(
            f"the process that loaded {variant.file} in {engine} was ended by signal {-done.returncode}; "
            "9 is most often a lack of memory"
        )
    lines = (done.stdout or "{}").splitlines()
    answer = json.loads(lines[-1])
    if done.returncode:  # an error of mar-edge is identified by its class name
        kind = getattr(errors, answer.get("error", ""), EngineError)
        raise kind(answer.get("message") or (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return Memory(**answer)


def print_memory() -> None:
    """Print, in the new process, the memory that a graph takes, as JSON; an error of mar-edge likewise."""
    try:
        print(json.dumps(_probe(*sys.argv[1:])._asdict()))
    except MarEdgeError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        sys.exit(1)


def _probe(path: str, file: str, engine: str, threads: str) -> Memory:
    from mar_edge.runtime.engines.registry import create_engine

    bundle = Bundle(Path(path))
    variant = next(variant for variant in bundle.manifest.variants if variant.file == file)
    loaded = create_engine(bundle, variant, engine, threads=int(threads) or None)
    clip = np.zeros((1, *bundle.manifest.geometry.clip_shape), np.uint8)
    for _ in range(2):
        loaded.infer(clip)
    found = Memory(_status_mb("VmRSS"), _status_mb("VmHWM"))
    loaded.close()
    return found


def _status_mb(key: str) -> float | None:
    """Read a line such as `VmRSS:  123 kB`; `getrusage` would include the parent's peak."""
    if not STATUS.exists():
        return None
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{key}:")), None)
