"""TensorRT's rule for running an attention (scores, softmax, mix) as one kernel.

Source: TensorRT's documentation, "Fused Attention"; INT8 needs Q/DQ around both products.
"""

from __future__ import annotations

INT8_HEAD_WIDTHS = (16, 32, 64)
INT8_TOKENS = 512
"""Most tokens that the INT8 kernel takes."""

HALF_HEAD_WIDTHS = range(16, 257, 8)
"""Head widths of the FP16 and BF16 kernels, which take any number of tokens."""


def why_not_fused(precision: str, *, head_width: int, tokens: int) -> str | None:
    """Say why TensorRT computes an attention in several kernels.

    Args:
        precision: of both products: `fp32`, `fp16`, `bf16` or `int8`.
        head_width: numbers in a head's query.
        tokens: tokens that attend to each other.

    Returns:
        The reason; None where it fits into one kernel.
    """
    if precision == "int8":
        reasons = []
        if head_width not in INT8_HEAD_WIDTHS:
            reasons.append(f"head width {head_width} is not 16, 32 or 64")
        if tokens > INT8_TOKENS:
            reasons.append(f"{tokens} tokens are more than {INT8_TOKENS}")
        return "; ".join(reasons) or None
    if precision in ("fp16", "bf16"):
        return (
            None if head_width in HALF_HEAD_WIDTHS else f"head width {head_width} is not a multiple of 8 from 16 to 256"
        )
    return f"there is no fused kernel for {precision}"
