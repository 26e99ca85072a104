"""Files of this device's cache, foreign checkpoints, and videos."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from random import Random

import av
import numpy as np
import torch

from mar_edge.bundle import Bundle
from tests.fakes.bundle import write_bundle
from tests.fakes.hostile.mutation import change_bytes, change_text, change_value, to_json
from tests.fakes.hostile.targets import (
    CheckpointTarget,
    ClipCacheTarget,
    ListTarget,
    ManifestTarget,
    RecipeTarget,
    Target,
)


class MeasurementsTarget(Target):
    """What `verify` stored of a bundle on this device."""

    name = "measurements"

    def __init__(self, folder: Path) -> None:
        from mar_edge.runtime.device import cache
        from mar_edge.runtime.measurement import choice

        super().__init__(folder)
        self.bundle = Bundle(write_bundle(folder / "fake.mar"))
        (variant,) = self.bundle.manifest.variants
        self.path = cache.folder(choice.KIND) / choice._file_name(self.bundle, None)
        one = {
            "sha256": variant.sha256, "engine": "onnxruntime", "engine_version": "1", "speed": 1.5, "held": True,
            "day": "2026-01-02",
        }  # fmt: skip
        self.seed = {"measurements": [one, {**one, "engine": "openvino"}]}

    def feed(self, rng: Random) -> None:
        from mar_edge.runtime.measurement.choice import choose

        text = to_json(change_value(self.seed, rng))
        text = change_text(text, rng) if rng.random() < 0.4 else text
        self.path.write_bytes(text.encode("utf-8", "surrogatepass"))
        choose(self.bundle)


class StatisticsTarget(Target):
    """Activation statistics of a calibration."""

    name = "activation statistics"

    def __init__(self, folder: Path) -> None:
        from mar_edge.calibration.statistics import Statistics, TensorStatistics

        super().__init__(folder)
        self.path = folder / "x.npz"
        values = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
        tensors = {name: TensorStatistics.of(values) for name in ("a", "b")}
        Statistics(tensors, ("clip",)).save(self.path, "key")
        self.seed = self.path.read_bytes()
        with np.load(self.path) as arrays:
            self.arrays = dict(arrays)

    def feed(self, rng: Random) -> None:
        from mar_edge.calibration.statistics import Statistics

        if rng.random() < 0.5:
            data = self.seed
            for _ in range(rng.choice((1, 2, 5))):
                data = change_bytes(data, rng)
            self.path.write_bytes(data)
        else:
            arrays = dict(self.arrays)
            name = rng.choice(list(arrays))
            arrays[name] = rng.choice(
                (
                    np.zeros(0), np.zeros((2, 3)), np.array("x"), np.array([np.nan, np.inf]), np.array([2**62, -1]),
                    arrays[name][..., None], np.array([1e308, 1e308]), np.array([b"\xff", b""]), np.zeros((1, 2048), np.int64),
                )
            )  # fmt: skip
            save = np.savez_compressed if rng.random() < 0.1 else np.savez
            with self.path.open("wb") as file:
                save(file, **arrays)
        found = Statistics.load(self.path, "key")
        for tensor in found.tensors.values():
            assert np.isfinite(tensor.centres).all() and tensor.largest >= 0
            tensor + tensor


class EngineCacheTarget(Target):
    """The header of a TensorRT engine in the device's cache."""

    name = "TensorRT engine cache"

    def __init__(self, folder: Path) -> None:
        from mar_edge.runtime.engines.tensorrt.cache import EngineKey

        super().__init__(folder)
        self.path = folder / "x.engine"
        self.key = EngineKey("0" * 64, "tensorrt", "10.3", "GPU", "8.9")
        self.engine = b"engine" * 100
        digest = hashlib.sha256(self.engine).hexdigest()
        self.seed = {**asdict(self.key), "batch": [1, 1, 1], "workspace_mib": 0, "engine_sha256": digest}

    def feed(self, rng: Random) -> None:
        from mar_edge.runtime.engines.tensorrt import cache

        text = to_json(change_value(self.seed, rng))
        text = change_text(text, rng) if rng.random() < 0.3 else text
        data = cache._MAGIC + text.encode("utf-8", "surrogatepass") + b"\n" + self.engine
        self.path.write_bytes(change_bytes(data, rng, head=400) if rng.random() < 0.3 else data)
        reason, engine = cache._read(self.path, self.key)
        assert bool(reason) != (engine == self.engine), "it is used only if it is what was built"


class HuggingFaceTarget(Target):
    """config.json, preprocessor_config.json and the tensors of a Hugging Face model."""

    name = "Hugging Face model"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config = {
            "model_type": "videomae", "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "num_frames": 16,
            "intermediate_size": 48, "image_size": 32, "patch_size": 16, "tubelet_size": 2, "num_channels": 3,
            "layer_norm_eps": 1e-12, "qkv_bias": True, "id2label": {"0": "a", "1": "b"}, "use_mean_pooling": True,
        }  # fmt: skip
        self.preprocessor = {
            "do_normalize": True,
            "size": {"shortest_edge": 32},
            "crop_size": {"height": 32, "width": 32},
        }
        linears = {
            "attention.attention.query": (12, 12), "attention.attention.key": (12, 12),
            "attention.attention.value": (12, 12), "attention.output.dense": (12, 12), "intermediate.dense": (48, 12),
            "output.dense": (12, 48),
        }  # fmt: skip
        block = "videomae.encoder.layer.0."
        tensors: dict[str, tuple[int, ...]] = {"fc_norm.weight": (12,), "fc_norm.bias": (12,)}
        tensors |= {"classifier.weight": (2, 12), "classifier.bias": (2,)}
        for name, shape in linears.items():
            tensors |= {f"{block}{name}.weight": shape, f"{block}{name}.bias": (shape[0],)}
        for bias in ("query", "key", "value"):
            del tensors[f"{block}attention.attention.{bias}.bias"]
        tensors |= {f"{block}attention.attention.{name}": (12,) for name in ("q_bias", "v_bias")}
        for norm in ("layernorm_before", "layernorm_after"):
            tensors |= {f"{block}{norm}.weight": (12,), f"{block}{norm}.bias": (12,)}
        embedding = "videomae.embeddings.patch_embeddings.projection"
        tensors |= {f"{embedding}.weight": (12, 3, 2, 16, 16), f"{embedding}.bias": (12,)}
        self.shapes = tensors

    def feed(self, rng: Random) -> None:
        from safetensors.torch import save

        from mar_edge.model.importing.importer import import_checkpoint

        names = {"config.json": self.config, "preprocessor_config.json": self.preprocessor}
        for name, values in names.items():
            text = to_json(change_value(values, rng) if rng.random() < 0.6 else values)
            text = change_text(text, rng) if rng.random() < 0.1 else text
            (self.folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        tensors = {name: torch.zeros(shape) for name, shape in self.shapes.items()}
        if rng.random() < 0.3:
            one = rng.choice(list(tensors))
            other = rng.choice(
                (f"{one}.x", "videomae.encoder.layer.999999999.output.dense.bias", "x" * 500, "\U0001f600")
            )
            tensors[rng.choice((one, other))] = rng.choice(
                (torch.zeros(0), torch.zeros(3, 3), torch.zeros(()), torch.ones(12, dtype=torch.int8))
            )
        data = save(tensors)
        (self.folder / "model.safetensors").write_bytes(
            change_bytes(data, rng, head=2000) if rng.random() < 0.1 else data
        )
        import_checkpoint(self.folder)


class PickleTarget(Target):
    """A checkpoint of `torch.save`: an official VideoMAE encoder."""

    name = "pickle"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "x.pth"
        shapes: dict[str, tuple[int, ...]] = {
            "patch_embed.proj.weight": (12, 3, 2, 16, 16),
            "patch_embed.proj.bias": (12,),
        }
        linears = {"attn.proj": (12, 12), "mlp.fc1": (48, 12), "mlp.fc2": (12, 48), "norm1": (12,), "norm2": (12,)}
        for name, shape in linears.items():
            shapes |= {f"blocks.0.{name}.weight": shape, f"blocks.0.{name}.bias": shape[:1]}
        shapes |= {"blocks.0.attn.qkv.weight": (36, 12), "blocks.0.attn.q_bias": (12,), "blocks.0.attn.v_bias": (12,)}
        self.state = {name: torch.zeros(shape) for name, shape in shapes.items()}

    def feed(self, rng: Random) -> None:
        from mar_edge.model.importing.importer import import_checkpoint

        state: dict[str, object] = dict(self.state)
        values: dict[str, object] = {"model": state}
        kind = rng.randrange(8)
        if kind == 0:  # one value, said to be many
            state[rng.choice(list(state))] = torch.zeros(1).expand(rng.choice((1, 10**6)), rng.choice((1, 10**6)))
        elif kind == 1:
            state[f"blocks.{rng.choice((1, 7, 999_999_999, 10**30))}.norm1.weight"] = torch.zeros(12)
        elif kind == 2:
            values["args"] = rng.choice(
                ({"num_frames": 10**30, "input_size": -1}, {"input_size": 10**9}, {"num_frames": 32})
            )
        elif kind == 3:  # one dict, held again and again
            inner: object = state
            for _ in range(rng.randrange(8)):
                inner = {str(number): inner for number in range(30)}
            values["model"] = inner
        torch.save(values, self.path, _use_new_zipfile_serialization=rng.random() < 0.7)
        if kind > 4:
            self.path.write_bytes(change_bytes(self.path.read_bytes(), rng, head=rng.choice((2000, None))))
        import_checkpoint(self.path, size_px=32)


_CODECS = {
    "mp4": "libx264",
    "mov": "mpeg4",
    "mkv": "libx264",
    "avi": "mpeg4",
    "ts": "mpeg2video",
    "gif": "gif",
    "webm": "libvpx",
}
"""By the ending of a file, which names the container."""


class VideoTarget(Target):
    """A video in one of the usual containers."""

    name = "video"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seeds: dict[str, bytes] = {}
        for suffix, codec in _CODECS.items():
            path = folder / f"seed.{suffix}"
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=10)
                assert isinstance(stream, av.VideoStream)
                stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb8" if suffix == "gif" else "yuv420p"
                for index in range(8):
                    picture = np.full((32, 32, 3), 30 * index, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())
            self.seeds[suffix] = path.read_bytes()

    def feed(self, rng: Random) -> None:
        from mar_edge.runtime.video.probe import probe
        from mar_edge.runtime.video.reader import read_frames

        suffix = rng.choice(list(self.seeds))
        data = self.seeds[suffix]
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = change_bytes(data, rng, head=rng.choice((64, 1024, None)))
        path = self.folder / f"changed.{suffix}"
        path.write_bytes(data)
        info = probe(path)
        assert info.frames >= 0 and info.duration_s >= 0
        for picture, _ in islice(read_frames(path, threads=1), 64):
            assert picture.ndim == 3


TARGETS: dict[str, type[Target]] = {
    target.name: target
    for target in (
        ManifestTarget, CheckpointTarget, RecipeTarget, ListTarget, ClipCacheTarget, MeasurementsTarget, StatisticsTarget,
        EngineCacheTarget, HuggingFaceTarget, PickleTarget, VideoTarget,
    )
}  # fmt: skip
"""All kinds by name."""


def feed(target: Target, number: int) -> str | None:
    """Feed one input; the number decides everything.

    Returns:
        The message with which it was refused; None if it was read.
    """
    from mar_edge.errors import MarEdgeError

    try:
        target.feed(Random(f"{target.name} {number}"))
    except MarEdgeError as error:
        return str(error)
    return None
