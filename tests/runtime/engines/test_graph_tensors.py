"""A graph that is not what its manifest states is refused, and the message names what differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mar_edge.errors import EngineError
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.runtime.engines.graph_tensors import GraphTensor, check_tensors
from mar_edge.testing import FakeEngine

GRAPH = GraphSpec(mask=50, precision="fp32", gmacs=1)
STEPS, WINDOWS = FakeEngine(streaming=True).spec, FakeEngine().spec

Tensors = list[GraphTensor]


def step_tensors(kind: str = "float16") -> tuple[Tensors, Tensors]:
    """Return inputs and outputs of a step graph of two attentions with 8 visible tokens of 16."""
    inputs = [
        GraphTensor("frames", "uint8", (2, 32, 32, 3)),
        GraphTensor("step", "int64", ()),
        GraphTensor("bias", "float32", (1, 1, 64)),
    ]
    outputs = [GraphTensor("logits", "float32", (3,))]
    for index, (heads, width) in enumerate([(2, 16), (3, 8)]):
        for name in (f"k{index}", f"v{index}"):
            inputs.append(GraphTensor(f"past_{name}", kind, (heads, 56, width)))
            outputs.append(GraphTensor(f"new_{name}", kind, (heads, 8, width)))
    return inputs, outputs


def check(spec: ModelSpec, inputs: Tensors, outputs: Tensors) -> object:
    return check_tensors(spec, GRAPH, Path("mask50.onnx"), inputs, outputs)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_what_a_step_graph_keeps_is_read_from_it(kind: str) -> None:
    inputs, outputs = step_tensors(kind)
    layout = check_tensors(STEPS, GRAPH, Path("x"), inputs[::-1], outputs[::-1])  # in any order
    assert layout is not None
    assert (layout.attentions, layout.kind, layout.slots, layout.tokens) == (((2, 16), (3, 8)), kind, 7, 8)
    assert layout.places[0] != layout.places[1]
    assert layout.bytes == 7 * 8 * 2 * (2 * 16 + 3 * 8) * (4 if kind == "float32" else 2)


def test_a_windowed_graph_keeps_nothing() -> None:
    frames, logits = GraphTensor("frames", "uint8", (16, 32, 32, 3)), GraphTensor("logits", "float32", (3,))
    assert check(WINDOWS, [frames], [logits]) is None
    with pytest.raises(EngineError, match=r"takes step int64 \(batch\), which is not expected; .* states clips"):
        check(WINDOWS, [frames, GraphTensor("step", "int64", ())], [logits])


def replace(name: str, *other: GraphTensor) -> Callable[[Tensors], Tensors]:
    """Return a change of the tensor of a name."""
    return lambda tensors: [new for tensor in tensors for new in (other if tensor.name == name else (tensor,))]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (replace("step"), r"does not take step int64 \(batch\)"),
        (
            replace("step", GraphTensor("step", "int32", ())),
            r"takes step int32 \(batch\), not step int64 \(batch\)",
        ),
        (
            replace("bias", GraphTensor("bias", "float16", (1, 1, 64))),
            r"takes bias float16 \(batch, 1, 1, 64\), not bias float32",
        ),
        (replace("past_v1"), r"does not take past_v1 float16 \(batch, 3, 56, 8\)"),
        (
            replace("past_v1", GraphTensor("past_v1", "float32", (3, 56, 8))),
            r"takes past_v1 float32 .* not past_v1 float16 \(batch, 3, 56, 8\)",
        ),
        (
            replace("past_k0", GraphTensor("past_k0", "float16", (2, "tokens", 16))),
            r"takes past_k0 float16 \(batch, 2, tokens, 16\), not past_k0 float16 \(batch, 2, 56, 16\)",
        ),
        (replace("past_k0", GraphTensor("past_k0", "int8", (2, 56, 16))), r"takes past_k0 int8 .* not past_k0 float32"),
        (
            replace("past_k0", GraphTensor("past_k0", "float16", (2, 56))),
            r"takes past_k\d float16 \(batch, .* not past_k0",
        ),
        (replace("new_k1"), r"does not return new_k1 float16 \(batch, 3, 8, 8\)"),
        (replace("new_k1", GraphTensor("new_k1", "float16", (3, 56, 8))), r"returns new_k1 .*56.* not new_k1"),
        (
            replace("logits", GraphTensor("logits", "float32", (3,)), GraphTensor("more", "float32", (1,))),
            r"returns more float32 \(batch, 1\), which is not expected",
        ),
    ],
)
def test_what_does_not_fit_is_named(change: Callable[[Tensors], Tensors], what: str) -> None:
    inputs, outputs = step_tensors()
    with pytest.raises(
        EngineError, match=rf"^mask50.onnx {what}.*at mask 50 fp32 and 3 labels. Export the bundle again$"
    ):
        check(STEPS, change(inputs), change(outputs))


def test_a_step_graph_without_attentions_is_none() -> None:
    inputs, outputs = step_tensors()
    with pytest.raises(EngineError, match=r"does not take past_k0 float32 \(batch, heads, 56, head width\)"):
        check(STEPS, inputs[:3], outputs[:1])
