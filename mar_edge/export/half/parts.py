"""The names of the parts of a graph that may have another precision than the rest.

A graph consists of leaves, named by module path if there is a module, otherwise by their function:

| leaf | what it computes |
|---|---|
| `encoder.embed`, `encoder.positions` | the first matrix product; the sum with the position table |
| `encoder.blocks.3.norm1`, `.norm2`, `encoder.norm`, `classifier.norm` | layer norms |
| `encoder.blocks.3.attn.qkv`, `.attn.scores`, `.attn.softmax`, `.attn.mix`, `.attn.proj` | the steps of attention |
| `encoder.blocks.3.attn.rotary` | the turn of queries and keys by their time, and the keys and values that are kept, in a step graph |
| `encoder.blocks.3.fc1`, `.gelu`, `.fc2` | the steps of the MLP |
| `encoder.blocks.3.residual` | both sums with the residual stream, and LayerScale gains |
| `classifier.reduce`, `classifier.pool`, `classifier.head` | the bridge's first product; the sum over tokens; the last product |

Blocks of the classifier have the same leaves. A name covers itself and all names below it: `encoder.blocks.3.attn` is attention
with its projection, `classifier` the entire classifier. The part before `encoder.embed`, from pixels to normalised
tubelets, has no name: it is always FP32. So are the tables of a step graph's clock.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from onnx import ModelProto, NodeProto

from mar_edge.errors import ExportError
from mar_edge.node_names import PRODUCTS, part_of, product_part

PIXELS = ""
"""The leaf before `encoder.embed`."""

_TURN = ("Concat", "Add", "Sub", "Mul", "Split", "Cast")

_BLOCK = re.compile(r"\.blocks\.\d+$")


def leaves(model: ModelProto) -> dict[str, str]:
    """Return the leaf of every node, by the node's name.

    Args:
        model: one of our graphs, of any precision.

    Raises:
        ExportError: if the graph has no matrix product.
    """
    nodes = list(model.graph.node)
    pixels = _pixels(nodes)
    constants = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    turning = _rotary(nodes)
    latest: dict[str, str] = {}  # current product of each attention
    found: dict[str, str] = {}
    for node in nodes:
        part = part_of(node.name)
        if node.name in pixels:
            found[node.name] = PIXELS
        elif node.name in turning:
            found[node.name] = f"{part}.rotary"
        elif part.endswith(".attn"):
            if node.op_type in PRODUCTS:
                latest[part] = product_part(node.name)
            found[node.name] = _part_of_attention(node, part, latest.get(part, ""))
        elif _BLOCK.search(part):
            found[node.name] = f"{part}.{'residual' if _is_residual(node, constants) else 'gelu'}"
        else:
            found[node.name] = {"encoder": "encoder.positions", "classifier": "classifier.pool"}.get(part, part)
    return found


def covered(leaf: str, kept: Iterable[str]) -> bool:
    """Return whether a leaf is one of the kept parts, or in one."""
    return any(leaf == name or leaf.startswith(f"{name}.") for name in kept)


def check_kept(known: Collection[str], kept: Iterable[str]) -> None:
    """Check that every kept part exists.

    Args:
        known: leaves of a graph.
        kept: names.

    Raises:
        ExportError: if one covers nothing.
    """
    for name in kept:
        if not any(leaf and covered(leaf, [name]) for leaf in known):
            raise ExportError(
                f"the graph has no part '{name}' to keep in fp32; parts are named as {', '.join(sorted(set(known) - {PIXELS})[:3])}"
            )


def _pixels(nodes: list[NodeProto]) -> set[str]:
    """Return the names of the nodes that the first matrix product's tokens come from."""
    producer = {name: node for node in nodes for name in node.output}
    embed = next((node for node in nodes if node.op_type in PRODUCTS), None)
    if embed is None:
        raise ExportError("the graph has no matrix product; it was not exported by mar-edge")
    waiting, found = [embed.input[0]], set[str]()
    while waiting:
        node = producer.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting += node.input
    # the nodes that quantise the product's tokens belong to the product
    return {name for name in found if part_of(name) != part_of(embed.name)}


def _rotary(nodes: list[NodeProto]) -> set[str]:
    """Return the names of the nodes in attentions that turn queries and keys, and put what is kept before the new ones.

    Only a step graph has Concat nodes in attention: the turn is what lies between one and the Split before it.
    """
    inside = {name: node for node in nodes if part_of(node.name).endswith(".attn") for name in node.output}
    found: set[str] = set()
    for node in inside.values():
        waiting = [node] if node.op_type == "Concat" else []
        while waiting:
            here = waiting.pop()
            if here.name in found or here.op_type not in _TURN:
                continue
            found.add(here.name)
            if here.op_type != "Split":
                waiting += [inside[name] for name in here.input if name in inside]
    return found


def _part_of_attention(node: NodeProto, part: str, latest: str) -> str:
    """Return the leaf by the product before: attention is written in the order of its computation."""
    biased = node.op_type == "Add" and latest.endswith(".scores")  # of a step graph
    if node.op_type in PRODUCTS or latest.endswith(".mix") or biased:
        return latest
    if node.op_type == "Softmax":
        return f"{part}.softmax"
    return f"{part}.{'scores' if node.op_type == 'Mul' else 'qkv'}"  # the factor of the queries; splits and moves


def _is_residual(node: NodeProto, constants: dict[str, int]) -> bool:
    """Distinguish the residual sums and LayerScale gains of a block from its GELU, which has only scalar constants."""
    ranks = [constants[name] for name in node.input if name in constants]
    return (node.op_type == "Add" and not ranks) or (node.op_type == "Mul" and any(ranks))
