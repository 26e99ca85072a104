"""What a graph takes and returns, and whether that is what its manifest states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mar_edge.counting import counted
from mar_edge.errors import EngineError
from mar_edge.model_spec import GraphSpec, ModelSpec
from mar_edge.runtime.engines.stream_state import KINDS, StateLayout


class GraphTensor(NamedTuple):
    """An input or output.

    Attributes:
        name: in the graph.
        kind: number format: NumPy's name, or `bfloat16`.
        shape: without its first dimension, which is the batch; a name or a sign for what is not known.
    """

    name: str
    kind: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """Return it as in messages, such as `logits float32 (batch, 3)`."""
        return f"{self.name} {self.kind} ({', '.join(map(str, ('batch', *self.shape)))})"


def check_tensors(
    spec: ModelSpec, variant: GraphSpec, path: Path, inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor]
) -> StateLayout | None:
    """Check the inputs and outputs of a graph.

    Args:
        spec: the model.
        variant: which of its graphs it is.
        path: the file that holds it.
        inputs: of the graph, in any order.
        outputs: of the graph, in any order.

    Returns:
        What a streaming model keeps of a stream; None for a windowed model.

    Raises:
        EngineError: if they are not what the manifest states.
    """
    layout = _layout(spec, variant, inputs) if spec.streaming else None
    takes, returns = _expected(spec, layout)
    for verb, found, expected in (("take", inputs, takes), ("return", outputs, returns)):
        if wrong := _difference(verb, found, expected):
            raise EngineError(
                f"{path} {wrong}; its manifest states {'time steps' if layout else 'clips'} {list(takes[0].shape)} at "
                f"{variant.title} and {counted(len(spec.labels), 'label')}. Export the bundle again"
            )
    return layout


def _layout(spec: ModelSpec, variant: GraphSpec, inputs: Sequence[GraphTensor]) -> StateLayout:
    """Return what a step graph keeps: as many attentions, as wide and in the number format that it has."""
    by_name = {tensor.name: tensor for tensor in inputs}
    keys = [by_name[name] for name in (f"past_k{index}" for index in range(len(inputs))) if name in by_name]
    sizes = [(key.shape[0], key.shape[-1]) if len(key.shape) == 3 else (0, 0) for key in keys]
    return StateLayout.of(
        spec.geometry,
        variant.mask / 100,
        ((heads, width) for heads, width in sizes if isinstance(heads, int) and isinstance(width, int)),
        kind=keys[0].kind if keys and keys[0].kind in KINDS else "float32",
    )


def _expected(spec: ModelSpec, layout: StateLayout | None) -> tuple[list[GraphTensor], list[GraphTensor]]:
    """Return the inputs and outputs that a model's graph must have."""
    inputs = [GraphTensor("frames", "uint8", (spec.input_frames, *spec.geometry.clip_shape[1:]))]
    outputs = [GraphTensor("logits", "float32", (len(spec.labels),))]
    if layout is not None:
        inputs += [
            GraphTensor("step", "int64", ()),
            GraphTensor("bias", "float32", (1, 1, (layout.slots + 1) * layout.tokens)),
        ]
        for name, past, new in zip(layout.names, layout.shapes(layout.slots), layout.shapes(1), strict=True):
            inputs.append(GraphTensor(f"past_{name}", layout.kind, past[1:]))
            outputs.append(GraphTensor(f"new_{name}", layout.kind, new[1:]))
        if not layout.attentions:  # a graph that keeps nothing is none of a streaming model
            inputs.append(GraphTensor("past_k0", layout.kind, ("heads", layout.slots * layout.tokens, "head width")))
    return inputs, outputs


def _difference(verb: str, found: Sequence[GraphTensor], expected: Sequence[GraphTensor]) -> str:
    """Return the first difference, such as `takes x, not y`; empty for none."""
    by_name = {tensor.name: tensor for tensor in found}
    for tensor in expected:
        given = by_name.pop(tensor.name, None)
        if given is None:
            return f"does not {verb} {tensor}"
        if given != tensor:
            return f"{verb}s {given}, not {tensor}"
    return "".join(f"{verb}s {tensor}, which is not expected" for tensor in list(by_name.values())[:1])
