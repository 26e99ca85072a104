"""ONNX Runtime: the engine that every installation has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mar_edge.bundle import Bundle, Variant
from mar_edge.errors import EngineError
from mar_edge.runtime.engines import Engine


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU.

    Args:
        bundle: the bundle.
        variant: the graph to load.
        threads: CPU threads for one inference; None for all cores.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, variant: Variant, *, threads: int | None = None) -> None:
        super().__init__(bundle, variant)
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # its exceptions have no common base
        self._errors = tuple(
            kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)
        )
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised, and told by us
        # spinning threads would take the core that the robot's own loop needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads:
            options.intra_op_num_threads = threads
        path = bundle.graph_path(variant)
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise EngineError(f"ONNX Runtime refuses {path}: {error}") from error
        (frames,), (logits,) = self._session.get_inputs(), self._session.get_outputs()
        wanted = ("tensor(uint8)", list(self._shape), [self._classes])
        if (frames.type, frames.shape[1:], logits.shape[1:]) != wanted:
            raise EngineError(
                f"{path} takes {frames.type} {frames.shape} and gives {logits.shape}, which is not what its manifest says: "
                f"clips {list(self._shape)} and {self._classes} labels. Export the bundle again"
            )

    def _infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            logits: NDArray[np.float32] = self._session.run(["logits"], {"frames": frames})[0]
        except self._errors as error:
            raise EngineError(f"ONNX Runtime failed on {self.variant.file}: {error}") from error
        return logits
