"""Layer norm, softmax and the mean over tokens, written as their computation steps.

Each step's result is a number that half precision must represent: squares of centred values overflow FP16 from 256 on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

MOVING = ("Reshape", "Transpose", "Split", "Gather", "Slice", "Squeeze", "Unsqueeze", "Identity", "Concat", "Flatten")
"""Operators that only move data."""


class Step(NamedTuple):
    """One step.

    Attributes:
        node: named `NODE.STEP` if a node has several.
        computes: whether its result is new numbers, which have to be stored.
    """

    node: NodeProto
    computes: bool


class Speller:
    """Writes nodes as steps.

    Attributes:
        constants: additional constants of the steps, by name.
    """

    def __init__(self) -> None:
        self.constants: dict[str, TensorProto] = {}
        self._steps: list[Step] = []
        self._node = NodeProto()

    def spell_out(self, node: NodeProto) -> list[Step]:
        """Return the steps of a node; the last one outputs the node's result."""
        spell: dict[str, Callable[..., None]] = {
            "LayerNormalization": self._layer_norm,
            "Softmax": self._softmax,
            "ReduceMean": self._mean,
        }
        if node.op_type not in spell:
            return [Step(node, node.op_type not in MOVING)]
        self._steps, self._node = [], node
        spell[node.op_type](*node.input)
        self._steps[-1].node.output[0] = node.output[0]
        return self._steps

    def _layer_norm(self, x: str, scale: str, shift: str = "") -> None:
        axis = self._constant("axis", np.array([self._attribute("axis", -1)], np.int64))
        epsilon = self._constant("epsilon", np.array(self._attribute("epsilon", 1e-5), np.float32))
        centred = self._add("Sub", x, self._add("ReduceMean", x, axis))
        variance = self._add("ReduceMean", self._add("Mul", centred, centred), axis)
        deviation = self._add("Sqrt", self._add("Add", variance, epsilon))
        result = self._add("Mul", self._add("Div", centred, deviation), scale)
        if shift:
            self._add("Add", result, shift)

    def _softmax(self, x: str) -> None:
        axis = self._constant("axis", np.array([self._attribute("axis", -1)], np.int64))
        powers = self._add("Exp", self._add("Sub", x, self._add("ReduceMax", x, axis)))
        self._add("Div", powers, self._add("ReduceSum", powers, axis))

    def _mean(self, x: str, axes: str) -> None:
        total = self._add("ReduceSum", x, axes)
        self._steps[-1].node.attribute.extend(self._node.attribute)
        values = self._add("Div", *(self._add("Size", name, computes=False) for name in (x, total)), computes=False)
        self._add("Div", total, self._add("Cast", values, computes=False, to=TensorProto.FLOAT))

    def _add(self, operator: str, *inputs: str, computes: bool = True, **attributes: Any) -> str:
        name = f"{self._node.name}.{len(self._steps) + 1}.{operator}"
        self._steps.append(Step(helper.make_node(operator, inputs, [name], name=name, **attributes), computes))
        return name

    def _attribute(self, name: str, default: float) -> float:
        for attribute in self._node.attribute:
            if attribute.name == name:
                return float(helper.get_attribute_value(attribute))
        return default

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        label = f"spelled {name} {value.item()}"
        if label not in self.constants:
            self.constants[label] = numpy_helper.from_array(value, label)
        return label
