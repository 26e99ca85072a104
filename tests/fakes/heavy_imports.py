"""What takes long to import, for the server from which the command line's processes are forked."""

import importlib
import os

os.environ["OMP_NUM_THREADS"] = "1"  # a server with threads could not be forked

import mar_edge  # noqa: F401 - before ONNX Runtime, whose telemetry it switches off

for name in (
    "mar_edge.cli.main",
    "mar_edge.training.trainer",
    "mar_edge.export.exporter",
    "torch._dynamo",
    "onnxscript",
    "tests.fakes.traces",
):
    importlib.import_module(name)
