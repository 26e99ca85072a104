"""Training on real files, at a size that takes seconds: what it learns, resumes, refuses and survives."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock

from mar_edge.console import Console
from mar_edge.datasets.fingerprint import TRAINING_VIDEOS, Fingerprints
from mar_edge.errors import CheckpointError, DataError, OutputError, RecipeError, TrainingError
from mar_edge.evaluation.evaluation import evaluate, open_model, read_videos
from mar_edge.model import checkpoint
from mar_edge.training import recipe as recipes
from mar_edge.training.loop import Trainer
from mar_edge.training.recipe import Recipe
from mar_edge.training.run_folder import RunFolder
from mar_edge.training.trainer import train
from mar_edge.training.videos import VideosPart, read_split
from tests.fakes.command_line import mar_edge, start
from tests.fakes.films import write_films
from tests.fakes.recipes import tiny

QUIET = Console(quiet=True)

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"), 4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of the videos, decoded once for all tests."""
    return tmp_path_factory.mktemp("clips") / "cache"


@pytest.fixture
def recipe(tmp_path: Path, videos: Path, cache: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny(tmp_path, videos, cache)))
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path)[0].state_dict()


def same(a: Path, b: Path) -> bool:
    ours, theirs = weights(a), weights(b)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def command(recipe: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "mar_edge", "train", str(recipe), *overrides]


def test_eight_clips_are_learned_by_heart_and_a_ninth_is_not_needed(recipe: Path, videos: Path, tmp_path: Path) -> None:
    result = train(
        recipes.load(
            recipe,
            [
                "trainer.steps=150",
                "trainer.batch=8",
                "model.drop_path=0",
                "trainer.checkpoint_steps=1000",
                f"data.val={videos}",
                "trainer.validate_steps=50",
            ],
        ),
        QUIET,
    )
    assert result.finished
    assert result.validation is not None
    assert result.validation.top1 == 1.0
    assert result.best_top1 == 1.0
    _, config, info = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert info.labels == ["left", "right"]
    assert config.classes == 2
    assert info.provenance["val_top1"] == 1.0
    assert info.provenance["data_digest"]
    seen = Fingerprints.from_text(info.provenance[TRAINING_VIDEOS])
    assert len(seen) == seen.count(videos.parent.glob("*.mp4")) > 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 150
    assert {"loss", "classification", "reconstruction", "lr", "top1", "epoch"} <= rows[0].keys()
    assert rows[-1]["val_top1"] == 1.0
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    report = (tmp_path / "run" / "report.html").read_text()
    assert "direction" in report


def test_killed_at_any_moment_it_goes_on_to_the_same_weights(recipe: Path, tmp_path: Path) -> None:
    """SIGKILL, three times, at a moment that nobody chose; each start is the same command."""
    steps = "trainer.steps=60"
    whole = train(recipes.load(recipe, [steps, f"trainer.out={tmp_path / 'whole'}"]), QUIET)
    state = tmp_path / "run" / "last.state.pt"
    kills = 0
    for _ in range(3):
        process = start("train", recipe, steps, outputs=(tmp_path / "stdout", tmp_path / "stderr"))
        before = state.stat().st_mtime_ns if state.exists() else 0
        deadline = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < deadline:
            if state.exists() and state.stat().st_mtime_ns != before:
                process.kill()
                kills += 1
                break
            time.sleep(0.002)
        process.join(timeout=120)
    assert kills, "the run was over before it could be killed"
    finished = mar_edge("train", recipe, steps)
    assert finished.returncode == 0, finished.stderr
    assert same(whole.checkpoint, tmp_path / "run" / "last.safetensors")


def test_ctrl_c_saves_and_the_same_command_goes_on(recipe: Path, tmp_path: Path) -> None:
    steps = "trainer.steps=60"
    whole = train(recipes.load(recipe, [steps, f"trainer.out={tmp_path / 'whole'}"]), QUIET)
    process = subprocess.Popen(
        command(recipe, steps, "trainer.checkpoint_steps=1000"), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "the same command resumes" in said
    stopped_at = checkpoint.load(tmp_path / "run" / "last.safetensors")[2].provenance["step"]
    assert 0 < stopped_at < 60
    assert train(recipes.load(recipe, [steps]), QUIET).finished
    assert same(whole.checkpoint, tmp_path / "run" / "last.safetensors")


def test_sigterm_for_the_whole_process_group_saves(recipe: Path, tmp_path: Path) -> None:
    """So systemd, `timeout` and some containers stop a service: the loader processes get the signal, too."""
    words = command(recipe, "trainer.steps=20000", "trainer.checkpoint_steps=100000", "trainer.workers=1")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    log = tmp_path / "run" / "tensorboard"
    end_s = time.monotonic() + 60
    while not (log.exists() and any(log.iterdir())) and process.poll() is None and time.monotonic() < end_s:
        time.sleep(0.02)
    time.sleep(0.5)  # within the first steps
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "the same command resumes" in said
    assert 0 < checkpoint.load(tmp_path / "run" / "last.safetensors")[2].provenance["step"] < 20000


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_end_where_one_with_the_doubled_batch_does(recipe: Path, tmp_path: Path, strategy: str) -> None:
    common = ["trainer.steps=5", "model.drop_path=0", "optimiser.ema=null", "mix.mixup_alpha=0.8"]
    one = train(recipes.load(recipe, [*common, "trainer.batch=8", f"trainer.out={tmp_path / 'one'}"]), QUIET)
    both = [*common, "trainer.batch=4", "trainer.devices=2", f"trainer.strategy={strategy}", "trainer.accelerator=cpu"]
    for sitting in (["trainer.max_minutes=0.00001"], []):  # stopped after its first step, then to the end
        two = mar_edge("train", recipe, *both, *sitting)
        assert two.returncode == 0, two.stderr
    ours, theirs = weights(one.checkpoint), weights(tmp_path / "run" / "last.safetensors")
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "run")
    ]
    for alone, together in zip(*logs, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-3)
        assert together["top1"] == pytest.approx(alone["top1"])
    for name in ours:
        # gradients are summed in another order, and Adam divides small ones by themselves
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-5, rtol=1e-3, msg=name)
    # and a run of two processes goes on as one of the same clips a step, or not at all
    with pytest.raises(CheckpointError, match=r"batch x accumulate x devices \(there 8, here 4\)"):
        train(recipes.load(recipe, [*common, "trainer.batch=4"]), QUIET)


def test_accumulated_batches_are_as_one(recipe: Path, tmp_path: Path) -> None:
    common = ["trainer.steps=5", "model.drop_path=0", "optimiser.ema=null"]
    one = train(recipes.load(recipe, [*common, "trainer.batch=8"]), QUIET)
    four = train(
        recipes.load(recipe, [*common, "trainer.batch=2", "trainer.accumulate=4", f"trainer.out={tmp_path / 'four'}"]),
        QUIET,
    )
    ours, theirs = weights(one.checkpoint), weights(four.checkpoint)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-5, rtol=1e-3, msg=name)


def test_bf16_trains(recipe: Path) -> None:
    result = train(recipes.load(recipe, ["trainer.precision=bf16", "trainer.steps=3"]), QUIET)
    assert result.finished
    assert all(tensor.isfinite().all() for tensor in weights(result.checkpoint).values())


def test_a_loss_that_is_no_number_stops_and_names_the_clips(recipe: Path, tmp_path: Path) -> None:
    train(recipes.load(recipe, ["trainer.max_minutes=0.00001"]), QUIET)
    before = (tmp_path / "run" / "last.state.pt").read_bytes()
    state = torch.load(tmp_path / "run" / "last.state.pt", weights_only=True)
    state["module"]["model.encoder.embed.weight"] *= 1e38
    torch.save(state, tmp_path / "run" / "last.state.pt")
    spoilt = (tmp_path / "run" / "last.state.pt").read_bytes()
    assert spoilt != before
    with pytest.raises(TrainingError, match=r"loss of step 2 is NaN or infinite; its clips: (left|right)_\d.mp4"):
        train(recipes.load(recipe), QUIET)
    assert (tmp_path / "run" / "last.state.pt").read_bytes() == spoilt, "nothing is written over it"


def test_a_full_disk_leaves_the_checkpoint_before_it_whole(recipe: Path, tmp_path: Path) -> None:
    first = train(recipes.load(recipe, ["trainer.max_minutes=0.00001"]), QUIET)
    state = tmp_path / "run" / "last.state.pt"
    before = state.read_bytes()
    limit_kib = state.stat().st_size // 2048  # half of what is needed
    full = subprocess.run(
        ["bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "bash", *command(recipe)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert full.returncode == 1, full.stderr
    assert "cannot write" in full.stderr
    assert "Traceback" not in full.stderr
    assert state.read_bytes() == before
    assert checkpoint.load(first.checkpoint)
    assert not list((tmp_path / "run").glob("*.partial"))
    assert train(recipes.load(recipe), QUIET).finished


def test_a_damaged_newest_state_is_told_and_the_one_before_is_used_without_temporary_space(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"):
        monkeypatch.setattr(f"tempfile.{name}", full)
    whole = train(recipes.load(recipe, [f"trainer.out={tmp_path / 'whole'}"]), QUIET)
    run = tmp_path / "run"
    train(recipes.load(recipe), QUIET)
    state = run / "last.state.pt"
    state.write_bytes(b"\0" * state.stat().st_size)  # after a power cut
    console = Console(record=True, width=300, file=io.StringIO())
    result = train(recipes.load(recipe), console)
    said = console.export_text()
    told = [line for line in said.splitlines() if "state before" in line]
    assert told == [
        f"warning: {state} contains only zeros: its content was lost, as in a power cut; the training resumes from the "
        "state before it, previous.state.pt"
    ]
    assert "resumes from step 6 of 8" in said
    assert same(whole.checkpoint, result.checkpoint)


def test_a_folder_with_another_run_is_left_alone(recipe: Path, tmp_path: Path) -> None:
    train(recipes.load(recipe, ["trainer.steps=1"]), QUIET)
    with pytest.raises(
        CheckpointError,
        match=r"another recipe: seed \(there its default, here 5\)\. .*trainer\.out=\S*run-2\. .*last\.state\.pt there$",
    ):
        train(recipes.load(recipe, ["trainer.steps=1", "seed=5"]), QUIET)
    held = FileLock(tmp_path / "run" / ".lock")
    with held, pytest.raises(OutputError, match="another process is training in"):
        train(recipes.load(recipe, ["trainer.steps=1"]), QUIET)


def test_a_run_goes_on_from_other_places_and_without_what_it_started_from(
    recipe: Path, videos: Path, tmp_path: Path
) -> None:
    start = train(recipes.load(recipe, ["trainer.steps=1", f"trainer.out={tmp_path / 'start'}"]), QUIET).checkpoint
    val = f"data.val={videos}"
    train(recipes.load(recipe, [f"start.weights={start}", val, "trainer.max_minutes=0.00001"]), QUIET)
    start.unlink()
    moved = tmp_path / "moved"
    moved.symlink_to(videos.parent)
    elsewhere = [
        f"data.train={moved / videos.name}",
        f"data.val={moved / videos.name}",
        f"data.cache={tmp_path / 'c2'}",
    ]
    for _ in range(2):  # and once more when it is all done, its best checkpoint moved away
        console = Console(record=True, width=200, file=io.StringIO())
        result = train(recipes.load(recipe, [f"start.weights={start}", *elsewhere]), console)
        assert result.finished
        assert "resumes from step" in console.export_text()
        assert result.validation is not None
        if result.best is not None:
            result.best.unlink()
    assert result.best is None


def test_killed_between_the_files_of_a_checkpoint_it_catches_up(recipe: Path, tmp_path: Path) -> None:
    whole = train(recipes.load(recipe, [f"trainer.out={tmp_path / 'whole'}"]), QUIET)

    def killed(self: RunFolder, state: Any, progress: dict[str, Any]) -> None:
        if progress["step"] == 8:
            raise SystemExit("killed")
        save(self, state, progress)

    save = RunFolder.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save", killed)
        with pytest.raises(SystemExit):
            train(recipes.load(recipe), QUIET)
    result = train(recipes.load(recipe), QUIET)
    assert checkpoint.load(result.checkpoint)[2].provenance["step"] == 8
    assert same(whole.checkpoint, result.checkpoint)


def test_checkpoints_can_be_read_by_whom_the_umask_allows(recipe: Path) -> None:
    path = train(recipes.load(recipe, ["trainer.steps=1"]), QUIET).checkpoint
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_validation_is_what_evaluate_measures(recipe: Path, videos: Path) -> None:
    result = train(recipes.load(recipe, [f"data.val={videos}", "data.val_views=2"]), QUIET)
    assert result.validation is not None
    model = open_model(result.checkpoint)
    evaluation = evaluate(model, read_videos(videos, model.labels), views=(2, 1))
    np.testing.assert_allclose(evaluation.scores, result.validation.scores, atol=1e-5)


def test_what_looks_like_a_mistake_is_said(recipe: Path, videos: Path) -> None:
    console = Console(record=True, width=300, file=io.StringIO())
    train(recipes.load(recipe, ["trainer.steps=1", f"data.val={videos}", "data.rate_fps=75"]), console)
    said = console.export_text()
    assert "8 videos are in both train and val" in said
    assert "8 of 8 videos have fewer than the 75 frames per second" in said


def test_labels_from_a_file(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("right\nleft\n")
    result = train(recipes.load(recipe, ["trainer.steps=1", f"data.labels={tmp_path / 'names.txt'}"]), QUIET)
    assert checkpoint.load(result.checkpoint)[2].labels == ["right", "left"]


def test_pretraining_then_training_from_it(recipe: Path, videos: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(recipe.read_text())
    values |= {"task": "pretrain", "mask": {"kind": "tube", "ratio": 0.9}}
    values["data"] |= {"train": [str(videos), str(videos.parent)]}
    values["trainer"] |= {"out": str(tmp_path / "pre")}
    (tmp_path / "pretrain.yaml").write_text(yaml.safe_dump(values))
    pretrained = train(recipes.load(tmp_path / "pretrain.yaml", task="pretrain"), QUIET)
    model, config, _ = checkpoint.load(pretrained.checkpoint)
    assert config.classifier == "none"
    assert pretrained.validation is None
    data = recipes.load(tmp_path / "pretrain.yaml", ["data.hold_out=['left_*']"], task="pretrain").data
    assert isinstance(data, VideosPart)
    left = read_split(data, labelled=False)
    assert {video.name[:5] for video in left.train.videos} == {"right"}
    with pytest.raises(RecipeError, match="does not validate"):
        recipes.load(tmp_path / "pretrain.yaml", [f"data.val={videos}"], task="pretrain")
    result = train(
        recipes.load(recipe, [f"start.weights={pretrained.checkpoint}", "trainer.steps=1", "optimiser.lr=1e-12",
                              "optimiser.weight_decay=0"]), QUIET,
    )  # fmt: skip
    got = weights(result.checkpoint)
    for name, tensor in model.encoder.state_dict().items():
        torch.testing.assert_close(got[f"encoder.{name}"], tensor, atol=1e-6, rtol=0)
    with pytest.raises(RecipeError, match="Run: mar-edge pretrain"):
        recipes.load(tmp_path / "pretrain.yaml")
    with pytest.raises(CheckpointError, match="encoder of .* differs from"):
        wider = [f"start.weights={pretrained.checkpoint}", "model.width=48", f"trainer.out={tmp_path / 'wider'}"]
        train(recipes.load(recipe, wider), QUIET)


def test_a_student_learns_from_a_teacher(recipe: Path, tmp_path: Path) -> None:
    teacher = train(recipes.load(recipe, ["mask.ratio=0", "trainer.steps=2", "model.width=48"]), QUIET)
    distil = f"{{teacher: {teacher.checkpoint}, tokens_weight: 1}}"
    student = [f"objective.distil={distil}", "trainer.steps=2", f"trainer.out={tmp_path / 'student'}"]
    train(recipes.load(recipe, student), QUIET)
    rows = [json.loads(line) for line in (tmp_path / "student" / "log.jsonl").read_text().splitlines()]
    assert {"distillation", "tokens"} <= rows[0].keys()
    with pytest.raises(RecipeError, match="takes clips of .* the student"):
        train(recipes.load(recipe, [*student, "model.frames=4", f"trainer.out={tmp_path / 'other'}"]), QUIET)


def test_data_that_cannot_be_trained_on(recipe: Path, videos: Path, tmp_path: Path) -> None:
    def refuses(text: str, says: str, *overrides: str) -> None:
        listing = videos.parent / f"{tmp_path.name}.csv"
        listing.write_text(text)
        with pytest.raises(DataError, match=says):
            train(recipes.load(recipe, [f"data.train={listing}", *overrides]), QUIET)

    good = "path,label\nleft_0.mp4,left\nright_0.mp4,right\n"
    refuses(good, r"no such file or folder: elsewhere/val\.csv\. Relative paths .* now /", "data.val=elsewhere/val.csv")
    refuses("", "contains no videos")
    refuses("path,label\n", "no videos")
    refuses("path,label\nleft_0.mp4,left\n", "one class only")
    refuses("path,class\nleft_0.mp4,left\n", "label")
    refuses(good + "nowhere.mp4,left\n", "nowhere.mp4")
    (videos.parent / "zero.mp4").write_bytes(b"")
    refuses(good + "zero.mp4,left\n", "zero.mp4")
    unknown = tmp_path / "val.csv"
    unknown.write_text(f"path,label\n{videos.parent / 'left_0.mp4'},lefft\n")
    refuses(good, "lefft.*left", f"data.val={unknown}")


def test_broken_videos_are_left_out_only_when_asked_and_named(recipe: Path, videos: Path, tmp_path: Path) -> None:
    listing = videos.parent / "some_broken.csv"
    listing.write_text(videos.read_text() + "broken.mp4,left\n")
    (videos.parent / "broken.mp4").write_bytes(b"not a video at all")
    with pytest.raises(DataError, match=r"broken.mp4(.|\n)*skip_broken"):
        train(recipes.load(recipe, [f"data.train={listing}"]), QUIET)
    console = Console(record=True, width=200, file=io.StringIO())
    recipe_ = recipes.load(recipe, [f"data.train={listing}", "data.skip_broken=true", "trainer.steps=1"])
    assert train(recipe_, console).finished
    assert "1 video cannot be read and is left out: broken.mp4" in console.export_text()


def test_validation_by_held_out_groups(recipe: Path, tmp_path: Path) -> None:
    result = train(recipes.load(recipe, ["data.hold_out=['*_3.mp4']", "trainer.steps=1"]), QUIET)
    assert result.validation is not None
    assert set(result.validation.names) == {"left_3.mp4", "right_3.mp4"}


def test_what_training_leaves_out_is_named_and_no_class_is_lost(recipe: Path, videos: Path, tmp_path: Path) -> None:
    for name in ("left_0", "left_1", "right_0", "right_1"):
        home = tmp_path / "set" / name.partition("_")[0]
        home.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes((videos.parent / f"{name}.mp4").read_bytes())  # no ending
    (tmp_path / "set" / "left" / "left_2.mp4.part").write_bytes(b"x")
    console = Console(record=True, width=300, file=io.StringIO())
    folder = f"data.train={tmp_path / 'set'}"
    assert train(recipes.load(recipe, [folder, "trainer.steps=1"]), console).finished
    assert "1 left out: left/left_2.mp4.part (is an unfinished download or a temporary file)" in console.export_text()
    with pytest.raises(
        DataError, match=r"no video is left of the class left: left/left_0 is held out by data\.hold_out"
    ):
        train(recipes.load(recipe, [folder, "data.hold_out=['left/*']"]), QUIET)
    (tmp_path / "set" / "up").mkdir()
    with pytest.raises(DataError, match=r"class folder .*up contains no video; add some, or remove the folder"):
        train(recipes.load(recipe, [folder]), QUIET)


def test_uniform_sampling_says_so_in_the_checkpoint(recipe: Path) -> None:
    result = train(recipes.load(recipe, ["data.sampling=uniform", "trainer.steps=1"]), QUIET)
    assert checkpoint.load(result.checkpoint)[2].sampling == "uniform"


def test_without_a_cache_the_same_clips_are_seen(recipe: Path, tmp_path: Path) -> None:
    cached = train(recipes.load(recipe, ["trainer.steps=3"]), QUIET)
    decoded = train(
        recipes.load(recipe, ["trainer.steps=3", "data.cache=null", f"trainer.out={tmp_path / 'decoded'}"]), QUIET
    )
    assert same(cached.checkpoint, decoded.checkpoint)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_goes_away_meanwhile_is_named_in_one_line(recipe: Path, tmp_path: Path, workers: int) -> None:
    listing = write_films(tmp_path / "films", 2)
    common = ["data.cache=null", f"data.train={listing}", f"trainer.workers={workers}"]
    train(recipes.load(recipe, [*common, "trainer.max_minutes=0.00001"]), QUIET)
    read = recipes.load(recipe, common)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mar_edge.training.trainer.Trainer.run", _without_films(tmp_path / "films"))
        with pytest.raises(DataError, match=r"^\S+list\.csv:\d: no such file: \S+\.mp4$"):
            train(read, QUIET)


def _without_films(folder: Path) -> Any:
    run = Trainer.run

    def started(*arguments: Any) -> Any:
        for film in folder.glob("*.mp4"):
            film.unlink()
        return run(*arguments)

    return started


def test_places_that_cannot_be_written(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write.*trainer\.out"):
        train(recipes.load(recipe, [f"trainer.out={tmp_path / 'file' / 'run'}"]), QUIET)
    with pytest.raises(OutputError, match="cache"):
        train(recipes.load(recipe, [f"data.cache={tmp_path / 'file' / 'cache'}"]), QUIET)


@pytest.mark.parametrize("inside", ["", "run", "deep/run", "../link/run"])
@pytest.mark.parametrize("key", ["trainer.out", "data.cache"])
def test_a_run_in_a_folder_of_its_data_is_refused(recipe: Path, tmp_path: Path, key: str, inside: str) -> None:
    for name in ("train", "val"):
        (tmp_path / name / "left").mkdir(parents=True)
    (tmp_path / "link").symlink_to("train")
    for name in ("train", "val"):
        place = tmp_path / name / inside
        read = recipes.load(
            recipe, [f"data.train={tmp_path / 'train'}", f"data.val={tmp_path / 'val'}", f"{key}={place}"]
        )
        with pytest.raises(
            RecipeError, match=rf"{key}: \S+ lies in the folder \S+ of data\.(train|val), .*outside of it"
        ):
            train(read, QUIET)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["left"]


def test_a_run_does_not_replace_the_weights_it_starts_from(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.safetensors").write_bytes(b"weights")
    with pytest.raises(OutputError, match=r"is read by this command, .* Set trainer\.out to another folder"):
        train(recipes.load(recipe, [f"start.weights={tmp_path / 'run' / 'best.safetensors'}"]), QUIET)


def test_devices_that_are_not_there(recipe: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TrainingError, match="accelerator cuda"):
        train(recipes.load(recipe, ["trainer.accelerator=cuda"]), QUIET)
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):  # and never another precision in silence
        train(recipes.load(recipe, ["trainer.precision=fp16"]), QUIET)


def test_provenance_names_the_recipe_and_its_overrides_so_that_it_can_be_repeated(
    recipe: Path, videos: Path, tmp_path: Path
) -> None:
    overrides = ["trainer.steps=2", "seed=7", f"data.train={videos}", "trainer.out=out dir", "name=left or right"]
    done = mar_edge("train", recipe.name, *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    _, _, info = checkpoint.load(tmp_path / "out dir" / "last.safetensors")
    shown = ["trainer.steps=2", "seed=7", "data.train=list.csv", "trainer.out=out dir", "name=left or right"]
    assert shlex.split(info.provenance["command"]) == ["mar-edge", "train", "recipe.yaml", *shown]
    assert info.provenance["recipe_file"] == {
        "path": "recipe.yaml", "sha256": hashlib.sha256(recipe.read_bytes()).hexdigest(), "overrides": shown,
    }  # fmt: skip
    said = info.provenance["recipe"]
    assert (said["seed"], said["trainer"]["steps"], said["trainer"]["batch"]) == (7, 2, 4)
    assert said["data"]["train"] == ["list.csv"], "where it lies on this machine is nobody's business"
    assert str(tmp_path.parent) not in json.dumps(info.provenance)
    again = shlex.split(info.provenance["command"])[1:]
    done = mar_edge(*again, "trainer.out=again", f"data.train={videos}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert same(tmp_path / "out dir" / "last.safetensors", tmp_path / "again" / "last.safetensors")


def test_a_recipe_that_was_made_in_python_says_so(recipe: Path) -> None:
    made = Recipe.model_validate(recipes.load(recipe, ["trainer.steps=1"]).model_dump())
    provenance = checkpoint.load(train(made, QUIET).checkpoint)[2].provenance
    assert "created in Python" in provenance["command"]
    assert "recipe_file" not in provenance
    assert provenance["recipe"]["trainer"]["steps"] == 1
