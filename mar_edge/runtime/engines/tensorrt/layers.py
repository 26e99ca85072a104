"""The layers of a built engine: which of the graph's products it computes in which precision."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from mar_edge.node_names import is_product, product_part
from mar_edge.runtime.engines.tensorrt.messages import LAYERS

PRECISIONS = (
    ("bf16", r"\b(BFloat16|BF16)\b"),
    ("fp16", r"\b(Half|FP16|Float16)\b"),
    ("int8", r"\bInt8\b"),
    ("fp32", r"\b(Float|FP32|Float32)\b"),
)
"""How versions spell a tensor's type: `Half` in a separate field, or `Row major linear FP16 format`."""


class Layer(NamedTuple):
    """One layer.

    Attributes:
        kind: TensorRT's name for it, such as `gemm`.
        operands: precision of each of its inputs and constants, except scalars and other types.
        nodes: names of the graph's nodes that it computes or helps to compute.
    """

    kind: str
    operands: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class LayerReport:
    """The layers of an engine.

    Attributes:
        layers: in the order in which they run.
    """

    layers: tuple[Layer, ...]

    @cached_property
    def products(self) -> dict[str, str]:
        """Precision of both operands of each of the graph's matrix products, by node; the wider one if they differ."""
        found: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for node in layer.nodes:
                if is_product(node):
                    found.setdefault(node, []).append(layer)
        return {node: _precision_of(layers) for node, layers in found.items()}

    def misses(self, precision: str, kept: Collection[str] = ()) -> list[str]:
        """Return the products that should be computed in a precision but are not.

        Args:
            precision: the requested one.
            kept: parts of the model that were left in FP32 on purpose.

        Returns:
            Names of nodes. For INT8 all of them if none is, otherwise nothing: the graph determines which products
            have Q/DQ nodes, and TensorRT may compute one of them in a higher precision.
        """
        if precision == "int8":
            return [] if "int8" in self.products.values() else list(self.products)
        parts = tuple(f"{part}." for part in kept)
        return [
            node
            for node, found in self.products.items()
            if found != precision and not f"{product_part(node)}.".startswith(parts)
        ]

    def summary(self) -> str:
        """Return how many products are computed in which precision, such as `50 in fp16, 2 in fp32`."""
        counts = Counter(self.products.values())
        return ", ".join(f"{count} in {precision}" for precision, count in counts.most_common())


def _precision_of(layers: list[Layer]) -> str:
    """Return the precision in which a product's layers multiply."""
    # kernels of the kind kgen mostly prepare operands or add a bias; only small products are computed in one
    multiplying = [layer for layer in layers if layer.kind != "kgen"] or layers
    for precision in ("int8", "fp16", "bf16", "fp32"):
        if any(layer.operands.count(precision) >= 2 for layer in multiplying):
            return precision
    every = [operand for layer in multiplying for operand in layer.operands]
    return next(
        precision for precision in ("fp32", "bf16", "fp16", "int8", "unknown") if precision in [*every, "unknown"]
    )


def read_log(text: str) -> LayerReport | None:
    """Read what newer versions log after building an engine; needs no GPU.

    Args:
        text: the message; empty where there was none.

    Returns:
        None if it does not report what is multiplied in which precision.
    """
    return _checked(tuple(_from_text(text)))


def inspect_engine(trt: Any, engine: Any) -> LayerReport | None:
    """Inspect a loaded engine that was built with detailed profiling verbosity.

    Args:
        trt: the module.
        engine: its `ICudaEngine`.

    Returns:
        None if it does not report what is multiplied in which precision.
    """
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    return _checked(tuple(_from_json(layer) for layer in layers if isinstance(layer, dict)))


def _checked(layers: tuple[Layer, ...]) -> LayerReport | None:
    """Return a report, unless the layers hide what they compute."""
    report = LayerReport(layers)
    return report if report.products and "unknown" not in report.products.values() else None


def _from_text(text: str) -> Iterator[Layer]:
    """Read the lines `Name: ..., LayerType: ..., Inputs: [...], Constants: [...], Outputs: [...], ..., Metadata: ...`."""
    for line in text.removeprefix(LAYERS).splitlines():
        if kind := re.search(r", LayerType: (\w+), ", line):
            operands, _, rest = line[kind.end() :].partition(", Outputs: [")
            tensors = re.findall(r"Dimensions: \[([-\d,]*)\].*?(?:Datatype|Format/Datatype): ([^,}]*)", operands)
            yield Layer(
                kind[1],
                _precisions([(type_, [int(n) for n in dims.split(",") if n]) for dims, type_ in tensors]),
                _nodes(rest),
            )


def _from_json(layer: dict[str, Any]) -> Layer:
    tensors = [*layer.get("Inputs", ()), *layer.get("Constants", ())]
    types = [
        (str(tensor.get("Datatype", tensor.get("Format/Datatype", ""))), tensor.get("Dimensions", []))
        for tensor in tensors
    ]
    if isinstance(weights := layer.get("Weights"), dict):
        types.append((str(weights.get("Type", "")), [int(weights.get("Count", 0))]))
    return Layer(str(layer.get("LayerType", "")), _precisions(types), _nodes(str(layer.get("Metadata", ""))))


def _precisions(tensors: list[tuple[str, list[int]]]) -> tuple[str, ...]:
    """Return the precisions of tensors given as (type, dimensions)."""
    found = (
        next((name for name, pattern in PRECISIONS if re.search(pattern, text)), None)
        for text, dims in tensors
        if prod(dims) != 1  # factors of a product are scalars of their own type
    )
    return tuple(name for name in found if name)


def _nodes(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\[ONNX Layer: ([^\]]*)\]", text))
