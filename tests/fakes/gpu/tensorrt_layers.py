"""The layers of an engine, as TensorRT describes them."""

from __future__ import annotations

from typing import Any


def layers_of(graph: bytes) -> list[dict[str, Any]]:
    """Return a layer for each matrix product, as the inspector tells them."""
    import onnx

    model = onnx.load_from_string(graph)
    known = {
        onnx.TensorProto.FLOAT: "Float",
        onnx.TensorProto.FLOAT16: "Half",
        onnx.TensorProto.BFLOAT16: "BFloat16",
    }
    kinds = {tensor.name: known.get(tensor.data_type, "Int64") for tensor in model.graph.initializer}
    kinds |= {v.name: known.get(v.type.tensor_type.elem_type, "UInt8") for v in model.graph.value_info}
    layers: list[dict[str, Any]] = []
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            inputs = [
                {"Name": name, "Dimensions": [8, 8], "Format": "Row major linear", "Datatype": kinds.get(name, "Float")}
                for name in node.input[:2]
            ]
            layers.append(
                {
                    "Name": f"{node.name}_myl0_{len(layers)}",
                    "LayerType": "gemm",
                    "Inputs": inputs,
                    "Constants": [{"Name": "alpha", "Dimensions": [1], "Datatype": "Float"}] * 2,
                    "Outputs": [],
                    "Metadata": f"[ONNX Layer: {node.name}]",
                }
            )
    return layers


def layers_text(layers: list[dict[str, Any]]) -> str:
    """Return the message that newer versions log."""

    def tensors(name: str, layer: dict[str, Any]) -> str:
        told = ", ".join(
            f"{{ Name: {t['Name']}, Dimensions: [{','.join(map(str, t['Dimensions']))}], Datatype: {t['Datatype']} }}"
            for t in layer[name]
        )
        return f"{name}: [{told}]"

    return "Layers:\n" + "\n".join(
        f"Name: {layer['Name']}, LayerType: {layer['LayerType']}, {tensors('Inputs', layer)}, "
        f"{tensors('Constants', layer)}, {tensors('Outputs', layer)}, StreamId: 0, Metadata: {layer['Metadata']}"
        for layer in layers
    )
