"""Every kind of file and folder that mar-edge writes, with a reader that notices what is torn or incomplete."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import torch

from mar_edge import bundle as bundles
from mar_edge.calibration.statistics import Statistics, TensorStatistics
from mar_edge.datasets.clip_cache import ClipWriter, map_clip, prepare_folder
from mar_edge.errors import OutputError
from mar_edge.evaluation.report import write_report
from mar_edge.files.atomic_file import write_whole
from mar_edge.model import checkpoint
from mar_edge.model.config import ModelConfig, build
from mar_edge.runtime.sinks.json_lines import SCHEMA, JsonLines
from mar_edge.runtime.sinks.mp4.marks import RECORDING_SCHEMA, read_notes
from mar_edge.runtime.sinks.recording import Recording
from mar_edge.training.fabric import make_fabric
from mar_edge.training.recipe import TrainerPart
from mar_edge.training.run_folder import RunFolder
from mar_edge.training.state.state_file import PREVIOUS, STATE, damage
from mar_edge.training.synthetic import film_store
from mar_edge.training.synthetic.symmetry import Film
from tests.fakes.bundle import manifest
from tests.fakes.family import INFO, TINY
from tests.fakes.filming.inline import in_this_process
from tests.fakes.shown_frames import shown


@dataclass(frozen=True)
class Writer:
    """A kind of output.

    Attributes:
        write: writes version N of it into a folder.
        read: returns the version found there, None if there is none; raises if it is torn or incomplete.
        leaves: names in the folder after a write.
        shared: whether two processes may write it at a time.
    """

    write: Callable[[Path, int], None]
    read: Callable[[Path], int | None]
    leaves: frozenset[str]
    shared: bool = True


def _config(version: int) -> ModelConfig:
    return ModelConfig(**{**vars(TINY), "width": 16 * (1 + version % 4)})


def _write_checkpoint(folder: Path, version: int) -> None:
    config = _config(version)
    info = checkpoint.CheckpointInfo(**{**vars(INFO), "provenance": {"version": version}})
    checkpoint.save(folder / "m.safetensors", build(config), config, info)


def _read_checkpoint(folder: Path) -> int | None:
    if not (folder / "m.safetensors").exists():
        return None
    _, config, info = checkpoint.load(folder / "m.safetensors")
    assert config == _config(info.provenance["version"])
    return int(info.provenance["version"])


def _write_bundle(folder: Path, version: int) -> None:
    graph = b"graph %d" % version * 1000
    values = manifest(provenance={"version": version})
    values["variants"][0] |= {"sha256": hashlib.sha256(graph).hexdigest(), "size_bytes": len(graph)}
    with bundles.writing(folder / "m.mar") as place:
        (place / "mask50-fp32.onnx").write_bytes(graph)
        bundles.write_manifest(place, {key: value for key, value in values.items() if key != "format"})


def _read_bundle(folder: Path) -> int | None:
    if not (folder / "m.mar").exists():
        return None
    return int(bundles.open_bundle(folder / "m.mar").manifest.provenance["version"])


def _write_report(folder: Path, version: int) -> None:
    write_report(folder / "r.html", title="t", facts={"version": f"v{version};" * 2000})


def _read_report(folder: Path) -> int | None:
    if not (folder / "r.html").exists():
        return None
    text = (folder / "r.html").read_text()
    assert text.rstrip().endswith("</html>")
    (version,) = {
        word.strip("v") for word in text.split('"facts"')[1].split("<td>")[1].split("</td>")[0].split(";") if word
    }
    return int(version)


def _write_lines(folder: Path, version: int) -> None:
    lines = JsonLines(str(folder / "o.jsonl"))
    for index in range(20):
        lines({"type": "prediction", "version": version, "index": index, "long": "x" * 10_000})
    lines.close()


def _read_lines(folder: Path) -> int | None:
    if not (folder / "o.jsonl").exists():
        return None
    text = (folder / "o.jsonl").read_bytes()
    records = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
    assert records[0]["schema"] == SCHEMA
    assert [record["index"] for record in records] == list(range(len(records)))
    (version,) = {record["version"] for record in records}
    return int(version)


def _write_rotated(folder: Path, version: int) -> None:
    lines = JsonLines(str(folder / "r.jsonl"), rotate_bytes=1000, keep=3)
    for index in range(6):
        lines({"type": "prediction", "version": version, "index": index, "long": "x" * 300})
    lines.close()


def _read_rotated(folder: Path) -> int | None:
    """Return the version in the newest file; the older ones have what was written before, and nothing is torn."""
    if not (folder / "r.jsonl").exists():
        assert not list(folder.glob("r.jsonl*"))
        return None
    found, seen = [], set()
    for name in ("r.jsonl.3", "r.jsonl.2", "r.jsonl.1", "r.jsonl"):
        # the newest file has both names for a moment
        if (folder / name).exists() and (number := (folder / name).stat().st_ino) not in seen:
            seen.add(number)
            records = [json.loads(line) for line in (folder / name).read_bytes().splitlines(keepends=True)]
            assert records[0]["schema"] == SCHEMA
            found += [(record["version"], record["index"]) for record in records]
    assert sorted(set(found)) == found
    return int(found[-1][0])


def _write_recording(folder: Path, version: int) -> None:
    while True:
        try:
            sink = Recording(str(folder / "v.mp4"))
            for index in range(8):
                sink.write(shown(index / 5, stream=f"{version}", size_px=(32, 32)))
            return sink.close()
        except OutputError as error:  # it takes turns with another writer
            if "is being written" not in str(error):
                raise
            time.sleep(0.001)


def _read_recording(folder: Path) -> int | None:
    if not (folder / "v.mp4").exists():
        return None
    with (folder / "v.mp4").open("rb") as file:  # the same one, if it is replaced meanwhile
        notes = read_notes(file, RECORDING_SCHEMA)
        file.seek(0)
        with av.open(file, "r") as container:
            times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert notes is not None
    assert np.allclose(times, np.arange(len(times)) / 5, atol=1e-3)
    return int(notes["stream"])


def _write_whole(folder: Path, version: int) -> None:
    write_whole(folder / "a.engine", b"%d" % version, b"," * 300_000, b"%d" % version)


def _read_whole(folder: Path) -> int | None:
    if not (folder / "a.engine").exists():
        return None
    first, *_, last = (folder / "a.engine").read_bytes().split(b",")
    assert first == last
    return int(first)


def _write_clip(folder: Path, version: int) -> None:
    prepare_folder(folder)
    with ClipWriter(folder / "a.clip") as writer:
        for index in range(3):
            writer.add(np.full((40, 40, 3), version % 250, np.uint8), index / 10)
        writer.finish(0.3)


def _read_clip(folder: Path) -> int | None:
    if not (folder / "a.clip").exists():
        return None
    mapped = map_clip(folder / "a.clip")
    assert mapped is not None
    (version,) = np.unique(mapped[0])
    return int(version)


def _write_statistics(folder: Path, version: int) -> None:
    tensor = TensorStatistics.of(np.full((4, 8), version + 1, np.float32))
    Statistics({f"t{index}": tensor for index in range(4)}).save(folder / "s.npz", "key")


def _read_statistics(folder: Path) -> int | None:
    if not (folder / "s.npz").exists():
        return None
    return int(Statistics.load(folder / "s.npz", "key").tensors["t3"].high) - 1


class _Studio:
    def film(self, count: int, seed: int) -> Any:
        return (Film(np.full((2, 8, 8, 3), 7, np.uint8), np.full(2, 7), np.zeros(0, np.float32)) for _ in range(count))


def _write_films(folder: Path, version: int) -> None:
    """Write the same films every time; the store keeps what is complete."""
    with patch("mar_edge.training.synthetic.film_store.over_all_cores", in_this_process):
        film_store.film_all(
            folder / "films", _Studio(), shape=(2, 8, 8, 3), clips=4, chunk=2, seed=0, process_bytes=lambda: 0,
            progress=lambda *_: None,
        )  # fmt: skip


def _read_films(folder: Path) -> int | None:
    """Films are read only after the store completed them."""
    _write_films(folder, 0)
    store = film_store.FilmStore(folder / "films", [2, 2])
    (version,) = {int(value) for index in range(4) for value in np.unique(store.clip(index))} | set(store.labels)
    return int(version)


def _write_state(folder: Path, version: int) -> None:
    fabric = make_fabric(TrainerPart(steps=1, out=folder, accelerator="cpu", devices=1))
    run = RunFolder(folder, {}, fabric)
    module = torch.nn.Linear(64, 64)
    run.resume({"module": module})
    torch.nn.init.constant_(module.weight, version)
    run.save({"module": module}, {"version": version})
    run.close()


def _read_state(folder: Path) -> int | None:
    """Return the newest state; there is always a sound one once there was one."""
    if not (folder / STATE).exists():
        assert not (folder / PREVIOUS).exists()
        return None
    found = []
    for name in (STATE, PREVIOUS):
        if (folder / name).exists():
            assert damage(folder / name) is None
            state = torch.load(folder / name, weights_only=True)
            assert (state["module"]["weight"] == state["progress"]["version"]).all()
            found.append(int(state["progress"]["version"]))
    return found[0]


WRITERS: dict[str, Writer] = {
    "checkpoint": Writer(_write_checkpoint, _read_checkpoint, frozenset({"m.safetensors"})),
    "bundle": Writer(_write_bundle, _read_bundle, frozenset({"m.mar"})),
    "report": Writer(_write_report, _read_report, frozenset({"r.html"})),
    "JSON lines": Writer(_write_lines, _read_lines, frozenset({"o.jsonl"})),
    "rotated lines": Writer(
        _write_rotated,
        _read_rotated,
        frozenset({"r.jsonl", "r.jsonl.1", "r.jsonl.2", "r.jsonl.3"}),
        shared=False,
    ),
    "recording": Writer(_write_recording, _read_recording, frozenset({"v.mp4"})),
    "engine": Writer(_write_whole, _read_whole, frozenset({"a.engine"})),
    "clip": Writer(_write_clip, _read_clip, frozenset({"a.clip"})),
    "statistics": Writer(_write_statistics, _read_statistics, frozenset({"s.npz"})),
    "films": Writer(_write_films, _read_films, frozenset({"films"})),
    "state": Writer(_write_state, _read_state, frozenset({STATE, PREVIOUS, ".lock"}), shared=False),
}
