"""What a training takes is known before it starts, and what does not fit is refused before anything is lost."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mar_edge.console import Console
from mar_edge.errors import CheckpointError, MarEdgeError, OutputError, TrainingError
from mar_edge.geometry import Geometry
from mar_edge.masking import training_mask, visible_indices
from mar_edge.model.config import ModelConfig, build
from mar_edge.training import recipe as recipes
from mar_edge.training import room
from mar_edge.training.needs import plan as planning
from mar_edge.training.needs import step_trace
from mar_edge.training.needs.plan import Place, Plan, check_processes, plan_training
from mar_edge.training.needs.shortage import shortage_named
from mar_edge.training.needs.step_trace import StepSettings, trace_step
from mar_edge.training.objective import ObjectivePart
from mar_edge.training.streaming import StreamingPart
from mar_edge.training.synthetic import film_store
from mar_edge.training.synthetic.film_store import film_all
from mar_edge.training.trainer import train
from mar_edge.training.training_data import read_lists
from mar_edge.training.validation import validate
from tests.conftest import ROOT
from tests.fakes.filming.studio import GreyStudio
from tests.fakes.films import write_films
from tests.fakes.recipes import tiny
from tests.training.test_training import QUIET, command, same

GB = 10**9
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"), 2)


@pytest.fixture
def smallest(tmp_path: Path, videos: Path) -> Path:
    """The smallest valid recipe: ViT-B at 224 px."""
    values = {
        "name": "n", "description": "d", "licence": "l", "model": {},
        "data": {"kind": "videos", "train": str(videos), "rate_fps": 10, "cache": str(tmp_path / "cache")},
        "trainer": {"steps": 100, "out": str(tmp_path / "run")},
    }  # fmt: skip
    (tmp_path / "smallest.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "smallest.yaml"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of the videos, decoded once for all tests."""
    return tmp_path_factory.mktemp("clips") / "cache"


@pytest.fixture
def recipe(tmp_path: Path, videos: Path, cache: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny(tmp_path, videos, cache)))
    return path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with so much memory, shared memory and disk, whose speed is known without a measurement."""
    monkeypatch.setattr(planning, "macs_per_s", lambda *_, **__: 50e9)

    def be(host: float = 20 * GB, shared: float | None = None, disk: float = 100 * GB) -> None:
        monkeypatch.setattr(room, "free_memory_bytes", lambda: int(host))
        monkeypatch.setattr(room, "free_shared_bytes", lambda: None if shared is None else int(shared))
        monkeypatch.setattr(room, "free_disk_bytes", lambda _: (int(disk), 1))

    be()
    return be


def plan(path: Path, *overrides: str, earlier: tuple[int, int] | None = None, force: bool = False) -> Plan:
    recipe = recipes.load(path, list(overrides))
    return plan_training(recipe, read_lists(recipe, lambda *_: None), Place(CPU), earlier=earlier, force=force)


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(TrainingError) as error:
        plan(path, *overrides)
    assert "\n" not in str(error.value)
    assert "--force" in str(error.value) or "beyond any computer's" in str(error.value)
    return str(error.value)


def test_the_smallest_recipe_says_what_it_takes_and_its_batch_fits(
    smallest: Path, machine: Callable[..., None]
) -> None:
    found = plan(smallest)
    said = "\n".join(found.lines)
    assert "model: 101 M parameters, 85.3 GMACs per clip at mask 50 %" in said
    assert re.search(r"memory: about 1\d\.\d GB of 20 GB free \(weights and optimiser 1\.22 GB, gradients and", said)
    assert re.search(r"disk: about \S+ MB of 100 GB free for data.cache", said)
    assert re.search(r"disk: about [45](\.\d+)? GB of 100 GB free for trainer.out", said)
    assert re.search(r"time: about [\d,.]+ s per step, 100 steps: \d", said)
    assert "batch: 64 clips per step, 16 at a time" in said
    assert (found.recipe.trainer.batch, found.recipe.trainer.accumulate) == (16, 4)
    machine(host=5 * GB)
    chosen = plan(smallest, "trainer.accumulate=2").recipe.trainer
    assert chosen.batch is not None and chosen.batch * chosen.accumulate == 128
    assert chosen.batch < 16


def test_the_sample_in_the_docs_has_the_words_of_the_product(recipe: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "own-classes.md").read_text()
    (sample,) = re.findall(r"```text\n(model: .*?)```", page, re.DOTALL)
    lines = plan(
        recipe, "trainer.workers=1", "trainer.steps=30", "data.cache=runs/cache", "trainer.out=runs/signs"
    ).lines

    def words(text: str) -> list[str]:
        return [re.sub(r"\d[\d.,:]*( [kMGT]?B)?", "#", line) for line in text.splitlines()]

    assert words(sample) == words("\n".join(lines))


def test_a_batch_that_the_recipe_names_is_refused_with_one_that_fits(
    smallest: Path, machine: Callable[..., None]
) -> None:
    said = refused(smallest, "trainer.batch=64")
    assert "takes about 51.3 GB of memory, and 20 GB are free" in said
    changes = re.search(r"Set (trainer\.batch=\d+ trainer\.accumulate=\d+), the same steps", said)
    assert changes is not None
    batch, passes = (int(number) for number in re.findall(r"=(\d+)", changes[1]))
    assert batch * passes == 64
    assert plan(smallest, *changes[1].split()).recipe.trainer.batch == batch  # what it advises is then taken


def test_force_starts_all_the_same(smallest: Path, machine: Callable[..., None]) -> None:
    lines = plan(smallest, "trainer.batch=64", force=True).lines
    assert any(line.startswith("warning: this training takes about 51.3 GB") for line in lines)


def test_where_no_batch_fits_smaller_clips_are_advised(smallest: Path, machine: Callable[..., None]) -> None:
    machine(host=3.2 * GB)
    said = refused(smallest)
    changes = re.search(r"Set (model\.size_px=\S+ trainer\.batch=\S+ trainer\.accumulate=\d+)", said)
    assert changes is not None, said
    assert plan(smallest, *changes[1].split())
    machine(host=1 * GB)
    assert "Reduce the sizes of model" in refused(smallest)


@pytest.mark.parametrize(
    "overrides",
    [
        "trainer.batch=999983", "model.depth=256 model.width=12288", "model.width=16384 model.heads=16",
        "model.width=12000", "model.frames=512", "model.size_px=1792", "model.bridge_width=16384 model.bridge_depth=24",
        "model.decoder_width=16384 model.decoder_heads=1",
        "start.patches_from_data=true model.size_px=896 model.depth=1 model.width=12 trainer.batch=1",
        "trainer.workers=256",
    ],
)  # fmt: skip
def test_no_key_of_a_recipe_can_ask_for_more_than_there_is(
    smallest: Path, machine: Callable[..., None], overrides: str
) -> None:
    refused(smallest, *overrides.split())


def test_training_processes_are_counted_before_they_start(smallest: Path, machine: Callable[..., None]) -> None:
    settings = recipes.load(smallest, ["trainer.devices=1000", "trainer.accelerator=cpu"]).trainer
    with pytest.raises(TrainingError, match=r"1000 training processes take about 400 GB .* trainer.devices"):
        check_processes(settings)


def test_loaders_that_do_not_fit_into_shared_memory(smallest: Path, machine: Callable[..., None]) -> None:
    machine(host=100 * GB, shared=64e6)  # what Docker gives
    assert plan(smallest).recipe.trainer.workers == 0
    said = refused(smallest, "trainer.workers=2", "trainer.batch=8")
    assert "of shared memory (/dev/shm) for loaders, and 64 MB are free. Set trainer.workers=0" in said


def test_a_disk_that_is_too_small_is_named(smallest: Path, machine: Callable[..., None]) -> None:
    machine(disk=1 * GB)
    assert re.search(r"GB of disk for trainer.out .* and data.cache .*, and 1 GB are free", refused(smallest))
    machine(disk=6 * GB)  # enough for the checkpoints, and not for a cache of large frames
    said = refused(smallest, "data.cache_px=8000")
    assert "a smaller data.cache_px" in said and "data.cache=" in said
    plan(smallest, "data.cache=null")


def test_the_cache_that_is_announced_is_the_cache_that_is_written(recipe: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=300, file=io.StringIO())
    fresh = ["data.cache_px=300", f"data.cache={tmp_path / 'cache'}"]
    train(recipes.load(recipe, ["trainer.steps=1", *fresh]), console)
    announced = re.search(r"disk: about ([\d,]+) MB of \S+ \S+ free for data.cache", console.export_text())
    assert announced is not None
    written = sum(file.stat().st_size for file in (tmp_path / "cache").glob("*.clip"))
    assert float(announced[1]) == pytest.approx(written / 1e6, abs=1)
    assert written > 10e6
    assert any("disk: about 0 MB" in line for line in plan(recipe, *fresh).lines), "it is all there"


def test_a_run_keeps_the_batch_that_it_began_with(recipe: Path, tmp_path: Path, machine: Callable[..., None]) -> None:
    """So that it ends with the same weights, whatever else is in the memory when it resumes."""
    open_ = ["trainer.batch=null", "trainer.steps=3"]
    machine(host=330e6)
    began = plan(recipe, *open_).recipe.trainer
    assert began.batch is not None and began.batch < 64 and began.batch * began.accumulate == 64
    whole = train(recipes.load(recipe, [*open_, f"trainer.out={tmp_path / 'whole'}"]), QUIET)
    train(recipes.load(recipe, [*open_, "trainer.max_minutes=0.00001"]), QUIET)
    machine(host=20 * GB)
    assert plan(recipe, *open_).recipe.trainer.batch == 64, "a new run would take all at once"
    console = Console(record=True, width=300, file=io.StringIO())
    resumed = train(recipes.load(recipe, open_), console)
    assert f"batch: 64 clips per step, {began.batch} at a time" in console.export_text()
    assert same(whole.checkpoint, resumed.checkpoint)


def test_the_estimate_holds_for_a_real_training(recipe: Path, tmp_path: Path) -> None:
    """Against the peak that the kernel counts; activations, weights and libraries each weigh something here."""
    sizes = ["model.width=192", "model.heads=3", "model.depth=6", "model.size_px=96", "trainer.batch=24"]
    code = (
        "import re, sys, json, pathlib; from mar_edge.cli.main import main; import mar_edge.training.trainer as t\n"
        "status = lambda key: int(re.search(key + r':\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1]) * 1024\n"
        "made = t.Trainer.__init__; before = []\n"
        "def init(self, *args): before.append(status('VmRSS')); made(self, *args)\n"
        "t.Trainer.__init__ = init\n"
        "if __name__ == '__main__':\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    print(json.dumps(status('VmHWM') - before[0]))\n"
    )
    (tmp_path / "measured.py").write_text(code)
    words = [*command(recipe, *sizes, "trainer.steps=2")]
    words[1:3] = [str(tmp_path / "measured.py")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    said = re.search(r"memory: about ([\d.]+) (MB|GB)", done.stderr)
    assert said is not None
    estimated = float(said[1]) * (1e9 if said[2] == "GB" else 1e6)
    assert measured > 600e6, "large enough to say something"
    assert 0.95 * measured < estimated < 1.25 * measured + 0.2 * GB


def settings(**changes: Any) -> StepSettings:
    geometry = Geometry(frames=4, height_px=32, width_px=32, patch_px=8)
    config = ModelConfig(
        geometry=geometry, classes=3, width=24, depth=2, heads=2, bridge_width=16, bridge_heads=2, decoder_width=16,
        decoder_heads=2,
    )  # fmt: skip
    fixed: dict[str, Any] = {
        "config": config, "objective": ObjectivePart(), "optimiser": "adamw", "precision": "32", "batch": 4, "passes": 1,
        "hidden": 0.5, "flow_channels": 2, "teacher": None, "clip": geometry, "streaming": None, "device": CPU,
    }  # fmt: skip
    return StepSettings(**(fixed | changes))


def test_a_trace_counts_parameters_state_and_work() -> None:
    found, config = trace_step(settings()), settings().config
    model = build(config)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    tables = sum(buffer.numel() for buffer in model.buffers())
    # AdamW keeps two numbers a weight, and a step count for each tensor
    steps = len(list(model.parameters()))
    assert found.kept_bytes == pytest.approx(4 * (3 * found.parameters + tables + steps), rel=1e-3)
    assert trace_step(settings(batch=8)).macs == 2 * found.macs
    assert trace_step(settings(passes=2)).macs == found.macs
    assert trace_step(settings(passes=2)).peak_bytes > found.peak_bytes  # gradients live through the second pass
    assert trace_step(settings(precision="bf16")).peak_bytes < found.peak_bytes
    assert trace_step(settings(teacher=config)).kept_bytes > found.kept_bytes + 4 * found.parameters - 1
    no_decoder = settings(objective=ObjectivePart(reconstruction_weight=0))
    assert trace_step(no_decoder).macs < found.macs


def test_a_streaming_model_is_counted_on_clips_of_several_windows() -> None:
    config = replace(settings().config, temporal="causal")
    one, two = (settings(config=config, clip=replace(config.geometry, frames=4 * count)) for count in (1, 2))
    assert trace_step(two).macs >= 2 * trace_step(one).macs
    assert trace_step(two).peak_bytes > 1.5 * trace_step(one).peak_bytes
    assert trace_step(replace(two, streaming=StreamingPart(carry=True))).macs == pytest.approx(
        trace_step(two).macs, rel=0.2
    )


def test_deep_models_are_counted_on_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = settings(config=replace(settings().config, depth=9, bridge_depth=7, decoder_depth=8))
    monkeypatch.setattr(step_trace, "TRACED_BLOCKS", 99)
    trace_step.cache_clear()
    whole = trace_step(deep)
    monkeypatch.setattr(step_trace, "TRACED_BLOCKS", 4)
    trace_step.cache_clear()
    assert trace_step(deep) == whole
    trace_step.cache_clear()


def test_validation_takes_no_more_clips_at_a_time_than_training(videos: Path, recipe: Path) -> None:
    class Views:
        classes, labels = np.array([0, 1]), ("left", "right")
        name = staticmethod(str)
        repeated_frames = staticmethod(lambda: np.zeros(2, np.int64))

        def views(self, index: int) -> Any:
            return np.random.default_rng(index).integers(0, 256, (7, *geometry.clip_shape), np.uint8)

    config = settings().config
    geometry, model = config.geometry, build(replace(config, classes=2))
    mask, seen = training_mask(geometry.grid, 0.5, np.random.default_rng(0)), []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    whole = validate(model, Views(), mask, fabric, batch=100)  # type: ignore[arg-type]
    parts = validate(model, Views(), mask, fabric, batch=3)  # type: ignore[arg-type]
    assert seen == [7, 7, 3, 3, 1, 3, 3, 1]
    np.testing.assert_allclose(whole.scores, parts.scores, atol=1e-6)
    assert visible_indices(mask).size == geometry.tokens // 2


def film(folder: Path, clips: int, chunk: int, each_bytes: int = 0) -> Any:
    return film_all(
        folder, GreyStudio(), shape=(2, 8, 8, 3), clips=clips, chunk=chunk, seed=1, process_bytes=lambda: each_bytes,
        progress=lambda *_: None,
    )  # fmt: skip


def test_films_that_fit_neither_disk_nor_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"1,000,000,000,000 clips take 384 TB in .* are free there"):
        film(tmp_path / "a", 10**12, 6000)
    monkeypatch.setattr(film_store, "free_memory_bytes", lambda: GB)
    with pytest.raises(
        TrainingError, match=r"takes 2\.25 GB of memory for the filmed worlds, and 1 GB are free. Use fewer"
    ):
        film(tmp_path / "b", 10, 5, each_bytes=2 * GB)
    store = film(tmp_path / "c", 12, 5)
    assert [store.clip(index)[0, 0, 0, 0] for index in (0, 11)] == [10_000 % 250, 10_002 % 250]
    assert film(tmp_path / "c", 12, 5, each_bytes=2 * GB).labels.shape == (12,), "nothing is left to film"


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-1], lambda data: bytes(len(data)), None])
@pytest.mark.parametrize("part", ["clips", "flows", "labels"])
@pytest.mark.usefixtures("one_process")
def test_damaged_films_are_filmed_again(tmp_path: Path, part: str, spoil: Callable[[bytes], bytes] | None) -> None:
    film(tmp_path, 4, 2)
    file, other = tmp_path / f"1.{part}.npy", tmp_path / "0.clips.npy"
    before, kept = file.read_bytes(), other.stat().st_mtime_ns
    if spoil is None:
        file.unlink()
    else:
        file.write_bytes(spoil(before))
    store = film(tmp_path, 4, 2)
    assert file.read_bytes() == before
    assert store.clip(3)[0, 0, 0, 0] == 10_001 % 250
    assert other.stat().st_mtime_ns == kept


def test_films_are_private_unless_their_cache_is_shared(tmp_path: Path) -> None:
    film(tmp_path / "own" / "films", 2, 2)
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    (tmp_path / "team").mkdir()
    (tmp_path / "team").chmod(0o2777)
    umask = os.umask(0o002)
    try:
        film(tmp_path / "team" / "films", 2, 2)
    finally:
        os.umask(umask)
    assert (tmp_path / "team").stat().st_mode & 0o7777 == 0o2777
    assert (tmp_path / "team" / "films").stat().st_mode & 0o7777 == 0o2775


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "the memory is full. Halve trainer.batch"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the memory is full"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "the memory is full"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), r"pid 7.*reduce trainer.workers"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. "), "/dev/shm"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. "), "Start again"),
    ],
)
def test_a_shortage_is_named_in_one_line(error: Exception, says: str) -> None:
    with pytest.raises(TrainingError, match=says), shortage_named():
        raise error
    with pytest.raises(RuntimeError, match="another"), shortage_named():
        raise RuntimeError("another")


def test_without_memory_the_command_ends_in_one_line(smallest: Path) -> None:
    """Under a limit that the system enforces, with the estimate overruled."""
    wide = ["trainer.batch=600", "model.width=12", "model.depth=1", "model.heads=1", "trainer.workers=0", "--force"]
    limited = ["bash", "-c", 'ulimit -v 4000000; exec "$@"', "bash", *command(smallest, *wide)]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=400)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "warning: this training takes about" in done.stderr
    assert "the memory is full. Halve trainer.batch" in done.stderr.splitlines()[-1]


def test_a_teacher_that_sees_other_clips_is_refused_before_anything(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        plan(recipe, f"objective.distil={{teacher: {tmp_path / 'no.safetensors'}}}")
    with pytest.raises(MarEdgeError, match="takes clips of .* the student"):
        plan(recipe, "objective.distil={teacher: egomotion_window}")
