"""A probe: a trained model whose last layer is replaced by a regression; all else stays as it is.

It is an ordinary checkpoint, which can be exported and run live: a streaming model stays a streaming model. What the regression
sees is exactly what the last layer sees, after every time step or window, so its weights are the layer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mar_edge.datasets.clip_reader import ClipReader, Sizing
from mar_edge.datasets.clip_sampling import dense_views, sampled_frames
from mar_edge.model.checkpoint import CheckpointInfo
from mar_edge.model.config import ModelConfig, build
from mar_edge.model.deployed import DeployedGraph
from mar_edge.model.mar import MAR
from mar_edge.model.streaming import StreamingMAR
from mar_edge.runtime.clips.preprocess import preprocess
from mar_edge.training.baselines.regression import Regression

MOST_S = 120.0
"""Of a longer video only so much is looked at, from its start, in seconds."""

BATCH = 16
"""Windows in one pass."""


class ProbeModel(NamedTuple):
    """A trained model, in evaluation mode, with its architecture and metadata."""

    model: MAR
    config: ModelConfig
    info: CheckpointInfo


@dataclass(frozen=True)
class Prober:
    """Computes what the last layer of a trained model sees of videos.

    Attributes:
        source: the model; its classifier ends in a linear layer, as all of ours do.
    """

    source: ProbeModel

    @property
    def sizing(self) -> Sizing:
        """How frames are resized before the model sees them."""
        geometry = self.source.config.geometry
        side_px = min(geometry.height_px, geometry.width_px)
        return Sizing(self.source.info.resize, geometry.height_px, geometry.width_px, side_px)

    def features(self, reader: ClipReader, index: int) -> NDArray[np.float32]:
        """Return what the last layer sees of a video, at every answer that `Model.classify` would average.

        Args:
            reader: of the model's frame size.
            index: place of the video in it.

        Returns:
            float32 (answers, features): of a streaming model one for each time step from the first full band on, or the last one
            if the video is shorter; of a windowed one one for each window that fits side by side.

        Raises:
            DataError: if the video cannot be read.
        """
        rate_fps, geometry = self.source.info.rate_fps, self.source.config.geometry
        duration_s = min(reader.duration_s(index), MOST_S)
        frames = sampled_frames(duration_s, rate_fps)
        if self.source.config.temporal == "causal":
            step = geometry.tubelet_frames
            times_s = np.minimum(np.arange(max(step, frames // step * step)) / rate_fps, reader.duration_s(index))
            found = self.of_clips(self._read(reader, index, times_s)[None])
            return found[min(geometry.grid[0], len(found)) - 1 :]
        views = dense_views(duration_s, geometry.frames, rate_fps, max(1, frames // geometry.frames))
        clips = torch.stack([self._read(reader, index, times_s) for times_s in views])
        return np.concatenate([self.of_clips(part) for part in torch.split(clips, BATCH)])

    def _read(self, reader: ClipReader, index: int, times_s: NDArray[np.float64]) -> Tensor:
        """Return frames as the runtime shows them to the model, uint8 (T, H, W, 3)."""
        size, resize = self.source.config.geometry, self.source.info.resize
        frames = reader.read(index, times_s)
        return torch.from_numpy(
            np.stack(
                [
                    preprocess(one, height_px=size.height_px, width_px=size.width_px, resize=resize, color="rgb")
                    for one in frames
                ]
            )
        )

    @torch.no_grad()
    def of_clips(self, clips: Tensor) -> NDArray[np.float32]:
        """Return what the last layer sees of clips, uint8 (B, T, H, W, 3): float32 (answers, features), of one clip at a time."""
        deployed = DeployedGraph(self.source.model, self.source.info.mask_ratio).eval()
        with _seen_by(last_layer(self.source.model)) as seen:
            if isinstance(self.source.model, StreamingMAR):
                deployed.every_step(clips)
            else:
                deployed(clips)
        found: NDArray[np.float32] = torch.cat([one.reshape(-1, one.shape[-1]) for one in seen]).float().numpy()
        return found

    def with_regression(self, regression: Regression) -> tuple[MAR, ModelConfig]:
        """Return the model with a regression as its last layer, and the architecture; there is no decoder.

        Args:
            regression: of features as `features` returns them.
        """
        config = replace(self.source.config, classes=len(regression.bias), decoder_depth=0)
        model = build(config)
        ours = model.state_dict()
        kept = {name: tensor for name, tensor in self.source.model.state_dict().items() if name in ours}
        kept["classifier.head.weight"] = torch.from_numpy(regression.weight).float()
        kept["classifier.head.bias"] = torch.from_numpy(regression.bias).float()
        model.load_state_dict(kept)
        return model.eval(), config


def last_layer(model: MAR) -> nn.Linear:
    """Return the linear layer that gives the logits."""
    assert model.classifier is not None
    head = model.classifier.head
    assert isinstance(head, nn.Linear)
    return head


@contextmanager
def _seen_by(layer: nn.Linear) -> Iterator[list[Tensor]]:
    """Collect the inputs of a layer."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        handle.remove()
