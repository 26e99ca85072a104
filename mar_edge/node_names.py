"""Names in our graphs: a node is `PART/OPERATOR` or `PART/OPERATOR_2`, a tensor has the name of the node that outputs it."""

from __future__ import annotations

PRODUCTS = ("MatMul", "Gemm")
"""Operators that multiply matrices; our graphs have no others."""

ATTENTION = {
    "MatMul": "qkv",
    **dict.fromkeys(("MatMul_q", "MatMul_k", "MatMul_v"), "qkv"),
    "MatMul_2": "scores",
    "MatMul_3": "mix",
}
"""Products of an attention; queries, keys and values come from one product, or from three for TensorRT."""

TOP = ("encoder", "classifier")
"""The parts of a deployed model."""


def part_of(name: str) -> str:
    """Return the part of the model that a node or tensor belongs to, such as `encoder.blocks.3.fc1`.

    Engines append to the names, as in `encoder.blocks.3.attn/MatMul_2/MatMulScaleFusion/`. Empty for the part before the
    encoder (pixels to tubelets), and for constants.
    """
    part, found, _ = name.partition("/")
    return part if found else ""


def block_of(name: str) -> str:
    """Return the block that a node, tensor or part belongs to, such as `encoder.blocks.3`; a part outside of blocks counts as one."""
    part = part_of(name) if "/" in name else name
    head, found, tail = part.partition(".blocks.")
    return f"{head}.blocks.{tail.split('.')[0]}" if found else part


def is_product(name: str) -> bool:
    """Return whether a node multiplies matrices."""
    operator = name.partition("/")[2].split("/")[0]
    return operator.partition("_")[0] in PRODUCTS


def product_part(name: str) -> str:
    """Return the most specific name of a product; attention has three, such as `encoder.blocks.3.attn.scores`."""
    part, _, rest = name.partition("/")
    return f"{part}.{ATTENTION[rest.split('/')[0]]}" if part.endswith(".attn") else part


def is_ours(name: str) -> bool:
    """Return whether an engine's layer has the name of a node of our graphs, or one derived from it."""
    part, found, _ = name.partition("/")
    return bool(found) and (not part or part.split(".")[0] in TOP)
