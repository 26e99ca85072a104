"""What reads files that others wrote: for each kind a valid file, a change of it, and the reader."""

from __future__ import annotations

import io
import json
import struct
from abc import ABC, abstractmethod
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from mar_edge.datasets.clip_cache import ClipWriter, look_up, map_clip
from mar_edge.datasets.video_list import read_video_list
from mar_edge.manifest import digest_of
from tests.fakes.bundle import manifest, write_bundle
from tests.fakes.hostile.mutation import change_bytes, change_text, change_value, to_json


class Target(ABC):
    """A kind of file.

    Attributes:
        name: for messages.
    """

    name: str

    def __init__(self, folder: Path) -> None:
        """Write what stays the same for all inputs.

        Args:
            folder: of this target only.
        """
        self.folder = folder

    @abstractmethod
    def feed(self, rng: Random) -> None:
        """Write a changed file, and read it.

        Raises:
            MarEdgeError: if it is refused.
        """


class ManifestTarget(Target):
    """manifest.json of a bundle; half of them with a hash that fits."""

    name = "manifest"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bundle = write_bundle(folder / "fake.mar")
        self.seed = manifest()

    def feed(self, rng: Random) -> None:
        from mar_edge.bundle import open_bundle
        from mar_edge.cli.views.bundle_card import print_card, print_mask, print_variants
        from mar_edge.console import Console

        values = change_value(self.seed, rng)
        if isinstance(values, dict) and rng.random() < 0.8:
            values["sha256"] = digest_of(json.loads(to_json(values)))
        text = to_json(values)
        text = change_text(text, rng) if rng.random() < 0.2 else text
        (self.bundle / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        opened = open_bundle(self.bundle)
        console = Console(file=io.StringIO(), width=80)
        print_card(opened.manifest, console)
        print_variants(opened.manifest, console)
        print_mask(opened.manifest, opened.variant().mask, console)


class CheckpointTarget(Target):
    """The header of a checkpoint: its metadata, the list of its tensors, and its length."""

    name = "checkpoint header"

    def __init__(self, folder: Path) -> None:
        from mar_edge.model import checkpoint
        from mar_edge.model.config import build
        from tests.fakes.tiny_model import INFO, TINY

        super().__init__(folder)
        checkpoint.save(folder / "seed.safetensors", build(TINY), TINY, INFO)
        data = (folder / "seed.safetensors").read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        self.header, self.tensors = json.loads(data[8 : 8 + size]), data[8 + size :]

    def feed(self, rng: Random) -> None:
        from mar_edge.model import checkpoint
        from mar_edge.model.deployed import describe

        header = dict(self.header)
        metadata = dict(header["__metadata__"])
        kind = rng.randrange(5)
        if kind < 3:
            key = rng.choice(("config", "info"))
            text = to_json(change_value(json.loads(metadata[key]), rng))
            metadata[key] = change_text(text, rng) if rng.random() < 0.2 else text
            header["__metadata__"] = metadata
        elif kind == 3:
            header = change_value(header, rng)
        encoded = to_json(header).encode("utf-8", "surrogatepass")
        size = len(encoded) if rng.random() < 0.95 else rng.choice((0, 1, 2**20, 2**63, 2**64 - 1))
        data = struct.pack("<Q", size) + encoded + self.tensors
        path = self.folder / "changed.safetensors"
        path.write_bytes(change_bytes(data, rng, head=len(encoded) + 8) if kind == 4 else data)
        with path.open("rb") as file:
            checkpoint.CHECKPOINT.marked(file)
        _, config, info = checkpoint.load(path)
        describe(path, config, info)


class RecipeTarget(Target):
    """A training recipe."""

    name = "recipe"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seed: dict[str, Any] = {
            "name": "x", "description": "x", "licence": "x", "seed": 1, "attribution": ["a"],
            "model": {"size_px": 32, "width": 12, "depth": 1, "heads": 1, "bridge_width": 8, "bridge_depth": 1, "drop_path": 0.1},
            "mask": {"kind": "cell_running", "ratio": 0.5}, "objective": {"reconstruction_weight": 0},
            "optimiser": {"lr": 0.001, "betas": [0.9, 0.99], "warmup_steps": 3},
            "augment": {"crop_scale": [0.5, 1.0]}, "start": {"weights": None},
            "data": {"kind": "videos", "train": "d", "labels": ["a", "b"], "cache": "cc", "cache_px": 36, "rate_fps": 7.5},
            "trainer": {"steps": 2, "batch": 2, "out": "out", "workers": 0, "devices": 1, "precision": "32"},
        }  # fmt: skip

    def feed(self, rng: Random) -> None:
        from mar_edge.training import recipe

        values = change_value(self.seed, rng)
        kind = rng.randrange(10)
        text = to_json(values) if kind < 4 else self._yaml(values)
        if kind == 8:
            text = change_text(text, rng)
        elif kind == 9:
            laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, rng.randrange(3, 12)))
            text = f"a0: &a0 [x]\n{laughs}{text}"
        path = self.folder / "recipe.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        overrides = rng.choice(
            ([], [], ["model.width=1e9"], ["a.b=[" * 1000], ["trainer.out=!!python/name:os.system x"])
        )
        recipe.load(path, overrides)

    @staticmethod
    def _yaml(values: Any) -> str:
        try:
            return str(yaml.safe_dump(values, allow_unicode=True))
        except ValueError:  # an integer that Python refuses to print
            return "seed: 0x" + "f" * 5000


class ListTarget(Target):
    """A list of videos, as CSV or as lines."""

    name = "list"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("a.mp4", "b.mp4", "c d.mp4"):
            (folder / name).write_bytes(b"x")
        self.seeds = (
            b'path,label\na.mp4,run\nb.mp4,walk\n"c d.mp4",run\n',
            b"a.mp4 0\nb.mp4 1\n",
            b"a.mp4\trun\nb.mp4\twalk\nc d.mp4\trun\n",
            "\ufeffpath;label\na.mp4;läuft\nb.mp4;geht\n".encode(),
        )

    def feed(self, rng: Random) -> None:
        data = rng.choice(self.seeds)
        for _ in range(rng.choice((1, 1, 2, 5))):
            data = change_bytes(data, rng)
        if rng.random() < 0.2:
            trick = rng.choice(
                (b"\0", b'"' * 200_001, b"\xff\xfe", b"x" * 300_000, b"," * 100_000, b"\r", b"\x1b[2J", b"\xed\xa0\x80")
            )
            place = rng.randrange(len(data) + 1)
            data = data[:place] + trick + data[place:]
        path = self.folder / "list.csv"
        path.write_bytes(data)
        read_video_list(path)


class ClipCacheTarget(Target):
    """A decoded video in the clip cache."""

    name = "clip cache"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "x.clip"
        with ClipWriter(self.path) as writer:
            for index in range(4):
                writer.add(np.full((8, 6, 3), index, np.uint8), index / 10)
            writer.finish(0.4)
        self.seed = self.path.read_bytes()

    def feed(self, rng: Random) -> None:
        # the trailer decides everything
        kept = len(self.seed) - struct.calcsize("<8sQQQd") - 32 if rng.random() < 0.7 else 0
        data = self.seed[:kept] + change_bytes(self.seed[kept:], rng)
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(data)
        found, mapped = look_up(self.path), map_clip(self.path)
        if found is not None and mapped is not None:
            frames, times_s = mapped
            assert frames.shape == (found.frames, found.height_px, found.width_px, 3)
            assert np.isfinite(times_s).all() and int(frames.sum()) >= 0
