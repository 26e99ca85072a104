"""Initialises the patch embedding from data, so that the first block sees motion from the first step.

Half of the channels are PCA-whitened filters of a tubelet's mean frame, the other half of the difference between its
last and first frame. It stays one linear layer; training changes it like any other weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mar_edge.model.mar import Encoder, patchify, pick


@torch.no_grad()
def init_patch_embedding(encoder: Encoder, frames: Tensor, visible: Tensor, *, position_scale: float = 0.5) -> None:
    """Set the encoder's patch embedding from clips and scale its position table.

    Args:
        encoder: changed in place.
        frames: uint8 clips (B, T, H, W, 3); some hundreds are enough.
        visible: token indices (N,).
        position_scale: factor on the position table.

    Raises:
        ValueError: if tubelets have one frame only, and therefore no difference.
    """
    frames_per_tubelet = encoder.geometry.tubelet_frames
    if frames_per_tubelet < 2:
        raise ValueError("tubelets of one frame have no motion to start from")
    seen = encoder.normalise(pick(patchify(frames, encoder.geometry), visible))
    tubelets = seen.reshape(seen.shape[0] * seen.shape[1], frames_per_tubelet, -1)  # (samples, frames, values a frame)
    width = encoder.embed.out_features
    still = _whitening(tubelets.mean(dim=1), width - width // 2)
    moving = _whitening(tubelets[:, -1] - tubelets[:, 0], width // 2)
    weight = torch.zeros(width, frames_per_tubelet, still.shape[1])
    weight[: len(still)] = still[:, None] / frames_per_tubelet
    weight[len(still) :, -1] = moving
    weight[len(still) :, 0] = -moving
    encoder.embed.weight.copy_(weight.flatten(1))
    encoder.embed.bias.zero_()
    encoder.positions.mul_(position_scale)


def _whitening(samples: Tensor, count: int) -> Tensor:
    """Return `count` filters (count, values) whose responses on the samples are uncorrelated with variance 1."""
    samples = samples.double()
    covariance = samples.T @ samples / len(samples)
    variance, direction = torch.linalg.eigh(covariance)
    variance, direction = variance[-count:].flip(0), direction[:, -count:].flip(1)
    filters: Tensor = (direction / (variance + 1e-4 * variance[0]).sqrt()).T
    return filters.float()
