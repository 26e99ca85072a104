"""From a checkpoint to a bundle: ONNX graphs with the mask baked in, and proof that they compute the same."""
