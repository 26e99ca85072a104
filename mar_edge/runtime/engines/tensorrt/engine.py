"""TensorRT and TensorRT-RTX: the engines for NVIDIA GPUs. Built on first use, kept in the device's cache."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mar_edge.manifest import Variant
from mar_edge.model_spec import ModelSpec
from mar_edge.reporting import Warn
from mar_edge.runtime.device import cache as device_cache
from mar_edge.runtime.engines.engine import Engine
from mar_edge.runtime.engines.stream_state import StreamState
from mar_edge.runtime.engines.tensorrt import versions as tensorrt_versions
from mar_edge.runtime.engines.tensorrt.build import Batch
from mar_edge.runtime.engines.tensorrt.cache import KIND, EngineKey, key_of, obtain
from mar_edge.runtime.engines.tensorrt.cuda import CudaPlace
from mar_edge.runtime.engines.tensorrt.gpu_state import GpuState
from mar_edge.runtime.engines.tensorrt.session import DamagedEngineError, GpuSession
from mar_edge.runtime.engines.tensorrt.step_session import StepSession

_log = logging.getLogger("mar_edge")


class TensorRTEngine(Engine):
    """A graph on an NVIDIA GPU. It has not run on one yet, only against a fake that enforces TensorRT's rules.

    A context of the application's own, made current with PyCUDA, is shared; otherwise the primary context is, which
    PyTorch and others use as well. The context that is current before a call is current after it. Several threads may infer;
    one inference runs at a time. GPU memory is freed by `close`, or with the object; that of a stream's state with the
    state. The states of a streaming model stay on the GPU; batches of its time steps need a profile, see `batch`.

    Args:
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        module: `tensorrt` or `tensorrt-rtx`.
        device: number of the GPU; by default `MAR_EDGE_CUDA_DEVICE`, or 0.
        batch: smallest, typical and largest batch that the engine is built for; by default that of the cached engine,
            or one clip, or time step. More than that are run one after another.
        workspace_mib: memory limit for one layer during the build; by default that of the cached engine, or none.
        threads: not used.
        say: called with one sentence each: that and why an engine is built, and what else to know; by default the
            logger `mar_edge` at level warning.

    Raises:
        MissingExtraError: if the module or PyCUDA is not installed.
        EngineError: if there is no GPU, or the engine cannot be built or loaded.
        OptionError: if the GPU or the batch is invalid.
        OutputError: if the device's cache cannot be made.
    """

    def __init__(
        self,
        spec: ModelSpec,
        variant: Variant,
        path: Path,
        *,
        module: str = "tensorrt",
        device: int | None = None,
        batch: Batch | None = None,
        workspace_mib: int | None = None,
        threads: int | None = None,
        say: Warn = _log.warning,
    ) -> None:
        super().__init__(spec, variant, path)
        self.name = module.replace("_", "-")
        dialect = tensorrt_versions.load(self.name)
        place = CudaPlace(device, extra=self.name)
        key = key_of(variant, dialect, place.gpu, batch=batch, workspace_mib=workspace_mib)
        kernels = (
            device_cache.folder(KIND) / f"{_kernels_name(key, place)}.kernels" if dialect.release.portable else None
        )

        kind = StepSession if spec.streaming else GpuSession

        def load(damaged: bool) -> GpuSession:
            with place.current():
                data = obtain(path, variant, key, say=say, damaged=damaged)
            return kind(data, dialect, place, spec, variant, path, say=say, kernels=kernels)

        session = None
        with contextlib.suppress(DamagedEngineError):  # frees what it holds of an engine that could not be loaded
            session = load(damaged=False)
        self._session = session = session or load(damaged=True)
        self._place, self.layout, self.max_batch = place, session.layout, session.largest_batch
        # at the latest when the process ends; the session must not refer to the engine, or it would keep it alive
        self._free = weakref.finalize(self, session.close)

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._session.infer(frames)

    def new_state(self) -> StreamState:
        """Return an empty state for a stream of a streaming model, in the GPU's memory; see `Engine.new_state`.

        Raises:
            EngineError: if the model is windowed, the GPU's memory is full, or this is another process.
        """
        self.check_process()
        return GpuState(self._layout(), self._place)

    def _can_use(self, state: StreamState) -> bool:
        return isinstance(state, GpuState) and state.place.shares(self._place)

    def _step(self, frames: NDArray[np.uint8], states: Sequence[StreamState]) -> NDArray[np.float32]:
        assert isinstance(self._session, StepSession)
        return self._session.step(frames, [state for state in states if isinstance(state, GpuState)])

    def layer_precisions(self) -> dict[str, str] | None:
        """See `Engine.layer_precisions`."""
        self.check_process()
        report = self._session.layers()
        return None if report is None else dict(report.products)

    def close(self) -> None:
        """Free everything on the GPU. May be called again; inference afterwards is an error."""
        self._free()


def _kernels_name(key: EngineKey, place: CudaPlace) -> str:
    """Return the name of the file of compiled kernels: an engine's own, on one kind of GPU."""
    return f"{key.path.stem}-on-{'-'.join(place.gpu.name.split())}-{key.version}"
