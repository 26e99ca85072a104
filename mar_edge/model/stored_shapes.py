"""Compares the tensors of a file with the model that its configuration describes, before any of them takes memory."""

from __future__ import annotations

from collections.abc import Mapping

from mar_edge.counting import counted
from mar_edge.errors import CheckpointError
from mar_edge.model.config import ModelConfig, shapes

Shape = tuple[int, ...]


def check_shapes(config: ModelConfig, stored: Mapping[str, Shape], place: object) -> None:
    """Check that stored tensors are exactly those of a model.

    Args:
        config: of the model.
        stored: shape of every tensor, by our names.
        place: the file, for messages.

    Raises:
        CheckpointError: if one is missing, of another shape, or not of this model.
    """
    blocks = config.depth + config.decoder_depth + (config.bridge_depth if config.classifier == "bridge" else 0)
    if blocks > len(stored):  # building them takes seconds, even without weights
        raise CheckpointError(
            f"{place} does not fit its own configuration: that has {counted(blocks, 'block')}, and the file {counted(len(stored), 'tensor')}"
        )
    wanted = shapes(config)
    problems = [
        f"{name} is missing" if name not in stored else f"{name} has shape {stored[name]}, expected {shape}"
        for name, shape in wanted.items()
        if stored.get(name) != shape
    ]
    problems += [f"{ascii(name)[1:81]} is unknown" for name in stored if name not in wanted]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{place} does not fit its own configuration: {'; '.join(problems[:3])}{more}")
