"""TensorRT and TensorRT-RTX are one code path: what differs between their versions, as a table."""

from __future__ import annotations

import importlib
import platform
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from mar_edge import extras
from mar_edge.errors import EngineError, MissingExtraError

Version = tuple[int, int]


class Release(NamedTuple):
    """Versions of one module that are used in the same way.

    Attributes:
        module: `tensorrt` or `tensorrt_rtx`.
        first: the oldest of them, as (major, minor).
        last: the newest major version of them.
        typing: how a network becomes strongly typed: by a `flag`, or `always`. Without the flag TensorRT 10 would
            choose precisions automatically.
        timing_cache: whether measured kernels are kept between builds. RTX does not measure kernels during a build, and its
            timing cache would only require a GPU.
        cuda_graph: whether we capture the stream, or the runtime does so automatically.
        portable: whether an engine is built without a GPU and runs on every GPU of the compute capabilities it was
            built for; otherwise it is built on the GPU that runs it, and for no other.
        where: platforms that have them.
    """

    module: str
    first: Version
    last: int
    typing: Literal["flag", "always"]
    timing_cache: bool
    cuda_graph: Literal["captured", "built in"]
    portable: bool
    where: str


RELEASES = (
    Release("tensorrt", (10, 3), 10, "flag", True, "captured", False, "JetPack 6 (10.3), data centres"),
    Release("tensorrt", (11, 0), 11, "always", True, "captured", False, "CUDA 12 and 13"),
    Release("tensorrt_rtx", (1, 0), 1, "always", False, "built in", True, "RTX cards"),
)
"""Read from the Python bindings of 10.3.0, 10.13.3, 10.16.1, 11.0.0, 11.4.0 and RTX 1.7.1, whose names
`tests/fakes/gpu/tensorrt_api.json` holds, and from NVIDIA's guides "10.x to 11.x" and "Porting Guide for TensorRT
Applications"."""


@dataclass(frozen=True)
class Dialect:
    """An installed module, and how it is used.

    Attributes:
        engine: name of the engine, `tensorrt` or `tensorrt-rtx`.
        trt: the module itself.
        version: of the module, for messages and cache keys.
        release: its row of the table.
    """

    engine: str
    trt: Any
    version: str
    release: Release

    @property
    def title(self) -> str:
        """Readable name, such as `TensorRT 10.3.0`."""
        return f"{_title(self.engine)} {self.version}"

    @property
    def network_flags(self) -> int:
        """Argument of `create_network` for a network that has exactly the precisions of the graph."""
        if self.release.typing == "always":
            return 0
        return 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def load(engine: str) -> Dialect:
    """Import the module of an engine.

    Args:
        engine: `tensorrt` or `tensorrt-rtx`; the module's name is accepted as well.

    Raises:
        MissingExtraError: if it is not installed.
        EngineError: if it cannot be imported, or is a version that is not in the table.
    """
    engine = engine.replace("_", "-")
    name = engine.replace("-", "_")
    if engine == "tensorrt" and platform.machine() == "aarch64" and find_spec(name) is None:
        raise MissingExtraError(
            "TensorRT is not installed. On Jetson it comes with JetPack: sudo apt install python3-libnvinfer, and create "
            "the environment with python3 -m venv --system-site-packages"
        )
    extras.require(name, engine, called=_title(engine))
    try:
        module = importlib.import_module(name)
        version = str(module.__version__)
    except (ImportError, OSError, AttributeError) as error:
        raise EngineError(
            f"{name} is installed but cannot be loaded: {error}. Its libraries must be of the same version, "
            "and on Jetson those of JetPack"
        ) from error
    return Dialect(engine, module, version, find_release(engine, version))


def find_release(engine: str, version: str) -> Release:
    """Return the row of the table for a version.

    Raises:
        EngineError: if it is too old, too new or not a version.
    """
    rows = [row for row in RELEASES if row.module == engine.replace("-", "_")]
    found = re.match(r"(\d+)\.(\d+)", version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    for row in rows:
        if row.first <= number and number[0] <= row.last:
            return row
    oldest, newest = rows[0].first, rows[-1].last
    taken = f"{oldest[0]}.{oldest[1]} to {newest}.x"
    if number > (newest, 0):
        raise EngineError(
            f"{_title(engine)} {version} is newer than this mar-edge supports ({taken}). "
            "Run: pip install --upgrade mar-edge"
        )
    raise EngineError(
        f"{_title(engine)} {version} is too old; mar-edge supports {taken}. Upgrade it (JetPack 6.1 has TensorRT 10.3)"
    )


def _title(engine: str) -> str:
    return "TensorRT-RTX" if engine == "tensorrt-rtx" else "TensorRT"
