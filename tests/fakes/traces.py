"""Traces of torch's exporter, made once for all tests: one takes three seconds, and many tests export the same weights.

What is shared is what `torch.onnx.export` returns for the same module at the same sizes; all that mar-edge makes of it
is made anew by every test.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
import torch.onnx

FOLDER = "MAR_EDGE_TEST_TRACES"
"""Environment variable with the folder of the traces, which the processes of one test run share."""

_trace = torch.onnx.export


@functools.wraps(_trace)
def _shared(model: torch.nn.Module, args: tuple[torch.Tensor, ...], **options: Any) -> Any:
    if FOLDER not in os.environ:
        return _trace(model, args, **options)
    path = Path(os.environ[FOLDER]) / f"{_key(model, args, options)}.onnx"
    if not path.exists():
        program = _trace(model, args, **options)
        assert program is not None
        partial = path.with_suffix(f".{os.getpid()}")
        program.save(str(partial), external_data=False)
        partial.replace(path)
    return torch.onnx.ONNXProgram(ir.load(path), None)


def _key(model: torch.nn.Module, args: tuple[torch.Tensor, ...], options: dict[str, Any]) -> str:
    """Hash what a trace depends on: weights, indices, plain attributes of all modules, sizes and options."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        plain = {
            key: value
            for key, value in sorted(vars(module).items())
            if isinstance(value, (bool, int, float, str, tuple, type(None))) or dataclasses.is_dataclass(value)
        }
        digest.update(f"{name} {type(module).__qualname__} {plain}".encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    digest.update(f"{[tuple(tensor.shape) for tensor in args]} {sorted(options.items())}".encode())
    return digest.hexdigest()


vars(torch.onnx)["export"] = _shared
