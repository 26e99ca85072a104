"""Validation of a model of brief actions: the answer that names one most surely, of all views and time steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from mar_edge.datasets.video_list import read_video_list
from mar_edge.geometry import Geometry
from mar_edge.masking import deployed_mask, visible_indices
from mar_edge.runtime.clips.clip_answers import peak_of
from mar_edge.runtime.clips.whole_clip import HELD_S
from mar_edge.runtime.streams.smoothing import softmax
from mar_edge.training.augmentation.augmentation import AugmentPart
from mar_edge.training.validation import validate
from mar_edge.training.videos import Split, VideosPart, open_videos
from tests.fakes.films import write_films
from tests.fakes.tiny_model import TINY_STREAM, tiny_stream


class Views:
    """Two videos of two views each."""

    classes, labels = np.array([0, 1]), tuple("abcde")
    name = staticmethod(str)

    def repeated_frames(self) -> NDArray[np.int64]:
        return np.zeros(2, np.int64)

    def views(self, index: int) -> NDArray[np.uint8]:
        shape = TINY_STREAM.geometry.clip_shape
        return np.random.default_rng(index).integers(0, 256, (2, *shape), np.uint8)


def test_every_step_of_every_view_counts_for_a_peak() -> None:
    model, mask = tiny_stream(), deployed_mask(TINY_STREAM.geometry.grid, 0.5)
    fabric = Fabric(accelerator="cpu", devices=1)
    given: Any = Views()
    got = validate(model, given, mask, fabric, batch=1, clip_answer="peak", idle_label="b")
    visible = torch.from_numpy(visible_indices(mask))
    for index in range(2):
        with torch.no_grad():
            logits = model.every_step(torch.from_numpy(given.views(index)), visible).flatten(0, 1).numpy()  # type: ignore[operator]
        expected = softmax(logits[peak_of(logits, 1)])
        np.testing.assert_allclose(got.scores[index], expected, atol=1e-5)
    mean = validate(model, given, mask, fabric, batch=1)
    assert not np.allclose(got.scores, mean.scores)


def test_the_last_picture_of_a_video_is_held(tmp_path: Path) -> None:
    videos = read_video_list(write_films(tmp_path, 1))
    data = VideosPart(kind="videos", train=(tmp_path,), rate_fps=10, resize="stretch", cache=None)
    geometry = Geometry(frames=8, height_px=32, width_px=32, patch_px=8)
    rest: Any = {"geometry": geometry, "augment": AugmentPart(), "flow": False, "progress": lambda *_: None}
    for held_s, still in ((0.0, 1), (HELD_S, 8)):
        val = open_videos(data, Split(videos, videos), held_s=held_s, **rest).val
        assert val is not None
        last = val.views(0)[-1]  # of 12 frames, or of 20
        assert len(np.unique(last.reshape(8, -1), axis=0)) == 9 - still
