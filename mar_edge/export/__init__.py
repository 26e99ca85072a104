"""Exports a checkpoint to a bundle: ONNX graphs with a constant mask, checked against torch."""
