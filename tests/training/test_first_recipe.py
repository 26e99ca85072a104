"""The first recipe: how clips are split, what a colleague says of them, what is decided, and that it can be trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mar_edge.datasets.video_list import VideoList, read_video_list
from mar_edge.errors import DataError, OptionError, OutputError, TrainingError
from mar_edge.runtime.video.probe import VideoInfo
from mar_edge.training import recipe as recipes
from mar_edge.training.first_recipe import first_recipe
from mar_edge.training.first_recipe.budget import FEWEST_STEPS, PASSES, Clips, plan_budget
from mar_edge.training.first_recipe.class_names import choose_idle, choose_mirroring
from mar_edge.training.first_recipe.costs import Costs, measure
from mar_edge.training.first_recipe.first_recipe import FirstRecipe, InitOptions, make_recipe, nobody
from mar_edge.training.first_recipe.parts import Parts, SplitOptions, find_parts
from mar_edge.training.first_recipe.recipe_text import read_made_by
from mar_edge.training.first_recipe.start_model import nearest_builtin
from mar_edge.training.first_recipe.unlisted import unlisted_clips
from mar_edge.training.first_recipe.window import choose_resize, choose_window
from mar_edge.training.judgement.next_commands import Trained, next_commands
from mar_edge.training.needs.plan import Plan
from mar_edge.training.synthetic.figure import ACTIONS
from mar_edge.training.videos import VideosPart
from tests.fakes.video_files import write_video

CPU = torch.device("cpu")
COSTS = Costs(
    decode_s=0.01, flow_s=0.01, load_s=0.013, pass_s=0.025, update_s=0.03, draw_s=0.014, precision="bf16", busy=1.0
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files that differ in length, to be copied under other names."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{n}.mp4", [index / 30 for index in range(30 + n)]) for n in range(40)]


def clips(folder: Path, videos: list[Path], labels: Sequence[str], people: int, each: int, first: int = 0) -> Path:
    """Write clips of every class by every person, each another file."""
    number = first
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for person in range(people):
            for clip in range(each):
                shutil.copy(videos[number], folder / label / f"person{person}_{clip}.mp4")
                number += 1
    return folder


def parts_of(data: Path, tmp_path: Path, **options: Any) -> Parts:
    force = options.pop("force", False)
    return find_parts(data, SplitOptions(**options), tmp_path / "lists", force=force)


def named(parts: Parts) -> dict[str, VideoList]:
    """Return the parts that there are."""
    found = {"train": parts.train, "val": parts.val, "test": parts.test}
    return {name: part for name, part in found.items() if part is not None}


def people(parts: Parts) -> list[set[str]]:
    return [{Path(video.name).stem[:7] for video in part.videos} for part in named(parts).values()]


def test_clips_are_split_by_people_into_lists(tmp_path: Path, videos: list[Path]) -> None:
    data = clips(tmp_path / "clips", videos, ["wave", "none"], people=5, each=3)
    parts = parts_of(data, tmp_path)
    train, val, test = people(parts)
    assert train and val and test and not train & val and not train & test and not val & test
    assert "is not split yet, so it is now" in parts.said[0] and "the person's number" in parts.said[2]
    for name, part in named(parts).items():
        assert part.source == tmp_path / "lists" / f"{name}.csv"
        assert len(read_video_list(part.source).videos) == len(part.videos)


def test_two_people_are_enough_to_train_and_validate(tmp_path: Path, videos: list[Path]) -> None:
    parts = parts_of(clips(tmp_path / "clips", videos, ["wave", "none"], people=2, each=4), tmp_path)
    assert parts.test is None and [len(found) for found in people(parts)] == [1, 1]
    assert any("too few groups for a test list" in doubt for doubt in parts.doubts)


@pytest.mark.parametrize(
    ("labels", "people", "each", "says"),
    [
        (["wave"], 3, 4, "one class only, 'wave'"),
        (["a", "b", "c"], 1, 1, "3 of 3 classes have only 1 clip .* nothing can be judged: only a check by eye remains.* mar-edge record"),
        (["a", "b"], 2, 1, "2 of 2 classes have at most 2 clips .* any figure would be luck.* --unjudged"),
        (["a", "b"], 1, 8, "all 16 clips of .* are of one person, 'person0'.* --unjudged"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_not_split(
    tmp_path: Path, videos: list[Path], labels: list[str], people: int, each: int, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        parts_of(clips(tmp_path / "clips", videos, labels, people, each), tmp_path)
    assert not (tmp_path / "lists").exists()


def test_whoever_insists_trains_with_all_clips(tmp_path: Path, videos: list[Path]) -> None:
    parts = parts_of(clips(tmp_path / "clips", videos, ["a", "b"], people=1, each=3), tmp_path, unjudged=True)
    assert parts.val is None and parts.test is None and len(parts.train.videos) == 6
    assert "none judges" in parts.said[0]


@pytest.mark.parametrize(("people", "each"), [(2, 1), (1, 1)])
def test_whoever_insists_trains_with_all_of_few_clips(
    tmp_path: Path, videos: list[Path], people: int, each: int
) -> None:
    data = clips(tmp_path / "clips", videos, ["a", "b", "c"], people, each)
    parts = parts_of(data, tmp_path, unjudged=True)
    assert parts.val is None and parts.test is None and len(parts.train.videos) == 3 * people * each
    assert not (tmp_path / "lists").exists()
    # who names a share wants it all the same
    if people == 2:
        assert parts_of(data, tmp_path, unjudged=True, val=0.5).val is not None


def test_classes_are_told_and_people_are_not_taken_for_them(tmp_path: Path, videos: list[Path]) -> None:
    good = clips(tmp_path / "good", videos, ["wave", "none"], people=3, each=2)
    (good / "notes.txt").write_text("Monday")
    parts = parts_of(good, tmp_path)
    assert "1 left out: notes.txt" in parts.doubts[0]
    assert "Classes: 2, with clips: none 6, wave 6." in parts.said
    assert not any("put them first" in doubt for doubt in parts.doubts)
    for person, folder in enumerate(("ann", "ben", "cyn")):
        clips(tmp_path / "swapped" / folder, videos, ["wave", "none"], people=1, each=4, first=8 * person)
    doubts = parts_of(tmp_path / "swapped", tmp_path, force=True).doubts
    assert doubts[0].startswith(
        "the classes are the folders ann, ben, cyn, and each of them has the folders none, wave"
    )
    assert str(tmp_path / "swapped" / "none" / "ann") in doubts[0]
    for day, folder in enumerate(("2024-05-01", "2024-05-02", "2024-05-03")):
        for label in ("wave", "none"):
            clips(tmp_path / "days" / label, videos, [folder], people=1, each=2, first=12 * (label == "none") + 2 * day)
    assert not any("put them first" in doubt for doubt in parts_of(tmp_path / "days", tmp_path, force=True).doubts)


def test_clips_that_no_list_names_are_told(tmp_path: Path, videos: list[Path]) -> None:
    data = clips(tmp_path / "clips", videos, ["a", "b"], people=4, each=2)
    find_parts(data, SplitOptions(), data)  # as mar-edge data split does
    assert not any("in none of its lists" in doubt for doubt in parts_of(data, tmp_path).doubts)
    shutil.copy(videos[30], data / "a" / "person9_0.mp4")
    doubts = parts_of(data, tmp_path).doubts
    assert f"1 clip of {data} is in none of its lists and is not used: a/person9_0.mp4" in doubts[0]
    head, *rows = (data / "train.csv").read_text().splitlines()
    (data / "train.csv").write_text("\n".join([head, rows[0], rows[-1]]))
    with pytest.raises(DataError, match="2 of 2 classes have only 1 clip .* To train all the same: --unjudged$"):
        parts_of(data, tmp_path)
    assert unlisted_clips(data, []) == [] and unlisted_clips(tmp_path / "gone", [data / "train.csv"]) == []


def test_a_class_of_one_person_is_doubted(tmp_path: Path, videos: list[Path]) -> None:
    data = clips(tmp_path / "clips", videos, ["a", "b"], people=4, each=2)
    clips(data, videos, ["c"], people=1, each=6, first=20)
    doubts = " ".join(parts_of(data, tmp_path).doubts)
    assert "all clips of c are of one person: a model may know it by that person" in doubts


def test_given_parts_stay_as_they_are(tmp_path: Path, videos: list[Path]) -> None:
    clips(tmp_path / "set" / "train", videos, ["a", "b"], people=2, each=3)
    clips(tmp_path / "set" / "test", videos, ["a", "b"], people=3, each=1, first=12)
    parts = parts_of(tmp_path / "set", tmp_path)
    assert parts.val is not None and parts.val.source == tmp_path / "set" / "test" and parts.test is None
    doubts = " ".join(parts.doubts)
    assert "there is no validation list" in doubts and "4 clips of" in doubts and "are of groups that" in doubts
    with pytest.raises(OptionError, match="is split already"):
        parts_of(tmp_path / "set", tmp_path, val=0.2)
    shutil.copy(tmp_path / "set" / "train" / "a" / "person0_0.mp4", tmp_path / "set" / "test" / "a" / "again.mp4")
    with pytest.raises(
        DataError, match="1 clip lies in two parts.* a/again.mp4 of test is the same file as a/person0_0.mp4 of train"
    ):
        parts_of(tmp_path / "set", tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path, videos: list[Path]) -> None:
    parts = parts_of(clips(tmp_path / "clips", videos, ["train", "bus"], people=5, each=2), tmp_path)
    assert parts.train.labels == ("bus", "train") and parts.test is not None


def infos(duration_s: float, fps: float = 30.0, size: tuple[int, int] = (64, 48)) -> list[VideoInfo]:
    frames = round(duration_s * fps)
    return [
        VideoInfo(duration_s=duration_s, frames=frames, announced=frames, fps=fps, width_px=size[0], height_px=size[1])
    ] * 4


@pytest.mark.parametrize(
    ("duration_s", "frames", "rate_fps", "doubt"),
    [
        (2.5, 16, 7.5, None),
        (0.6, 16, 30.0, None),
        (10 / 30, 8, 25.0, "too short for the usual 16 frames"),
        (20.0, 16, 7.5, "Cut clips to the action"),
    ],
)
def test_the_window_fits_the_clips(duration_s: float, frames: int, rate_fps: float, doubt: str | None) -> None:
    window = choose_window(infos(duration_s))
    assert (window.frames, window.rate_fps) == (frames, rate_fps)
    assert bool(window.doubts) == (doubt is not None)
    if doubt is not None:
        assert doubt in window.doubts[0]


def test_clips_shorter_than_any_window_are_refused() -> None:
    with pytest.raises(DataError, match=r"3 frames or fewer \(0.10 s\).* mar-edge record"):
        choose_window(infos(0.1))


def test_pictures_of_one_shape_are_stretched() -> None:
    assert choose_resize(infos(1.0))[0] == "stretch"
    assert choose_resize([*infos(1.0), *infos(1.0, size=(48, 64))])[0] == "center_crop"


def test_mirroring_is_never_guessed_where_names_say_left_or_right() -> None:
    labels = ["swipe_left", "swipe_right", "tap"]
    unasked = choose_mirroring(labels, None, nobody)
    assert unasked.flip == 0 and unasked.open is not None and "--mirror swap" in unasked.open
    swapped = choose_mirroring(labels, "swap", nobody)
    assert swapped.flip == 0.5 and swapped.swaps == (("swipe_left", "swipe_right"),)
    kept = choose_mirroring(labels, None, lambda question, answers, default: "keep" if "keep" in answers else None)
    assert kept.swaps == (("swipe_left", "swipe_left"), ("swipe_right", "swipe_right")) and kept.open is None
    assert choose_mirroring(labels, "no", nobody).flip == 0
    assert choose_mirroring(["swipeleft", "tap"], None, nobody).flip == 0
    assert choose_mirroring(["links", "rechts"], "swap", nobody).swaps == (("links", "rechts"),)
    free = choose_mirroring(["jump", "run"], None, nobody)
    assert free.flip == 0.5 and free.open is None
    with pytest.raises(OptionError, match="no two classes differ"):
        choose_mirroring(["jump", "run"], "swap", nobody)


@pytest.mark.parametrize(
    ("labels", "asked", "idle"),
    [
        (["wave", "none"], None, "none"),
        (["fall", "No Fall"], None, "No Fall"),
        (["wave", "none", "other"], None, None),
        (["wave", "none"], "none", "none"),
        (["wave", "idle"], "none", None),
        (["wave", "walk"], "walk", "walk"),
        (["wave", "walk"], None, None),
    ],
)
def test_the_idle_class(labels: list[str], asked: str | None, idle: str | None) -> None:
    assert choose_idle(labels, asked, nobody)[0] == idle


def test_a_person_may_say_that_a_class_is_not_idle() -> None:
    assert choose_idle(["wave", "other"], None, lambda *_: "no")[0] is None
    with pytest.raises(OptionError, match="the classes are wave, other"):
        choose_idle(["wave", "other"], "walk", nobody)


def test_more_minutes_are_more_steps_or_larger_pictures() -> None:
    there = Clips(train=2000, val=400, total_s=6000)
    found = [plan_budget(COSTS, there, minutes, CPU, draws=False) for minutes in (5, 10, 20, 60)]
    work = [budget.size_px**2 * budget.steps for budget in found]
    assert work == sorted(work) and work[0] < work[-1]
    for minutes, budget in zip((5, 10, 20, 60), found, strict=True):
        assert sum(budget.spent_s.values()) <= 60 * minutes
    busy = plan_budget(replace(COSTS, busy=2.0), there, 10, CPU, draws=False)
    assert busy.size_px**2 * busy.steps < work[1]


def test_few_clips_are_not_seen_too_often_and_few_minutes_are_said() -> None:
    budget = plan_budget(COSTS, Clips(train=40, val=10, total_s=120), 600, CPU, draws=False)
    assert budget.steps == PASSES * 40 // 64 and "learnt by heart" in budget.limit and budget.size_px == 96
    short = plan_budget(COSTS, Clips(train=2000, val=400, total_s=6000), 1, CPU, draws=False)
    assert short.steps < FEWEST_STEPS and short.minutes_needed is not None
    enough = plan_budget(COSTS, Clips(train=2000, val=400, total_s=6000), short.minutes_needed, CPU, draws=False)
    assert enough.steps >= FEWEST_STEPS and enough.minutes_needed is None


def test_the_nearest_model_is_a_built_in_one() -> None:
    start = nearest_builtin(["zoom_in", "zoom_out"], 2.1)
    assert start.name == "egomotion" and start.config.width == 160


def made(data: Path, path: Path, **options: Any) -> FirstRecipe:
    return make_recipe(
        data, path, path.parent / "runs" / "x", InitOptions(**options), command=["mar-edge", "init", "it's"]
    )


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The costs are given, which takes no time."""
    monkeypatch.setattr(first_recipe, "measure", lambda *_: COSTS)


@pytest.fixture
def unplanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes is given, which takes no time."""
    monkeypatch.setattr(first_recipe, "plan_training", lambda recipe, *_: Plan(recipe, [], 1.0))


@pytest.mark.usefixtures("unmeasured")
def test_the_recipe_is_valid_says_why_and_is_never_replaced(tmp_path: Path, videos: list[Path]) -> None:
    data = clips(tmp_path / "clips", videos, ["wave: left", "none"], people=4, each=3)
    shutil.rmtree(data / "none")
    clips(data, videos, ["none"], people=4, each=2, first=20)
    path = tmp_path / "my recipe.yaml"
    result = made(data, path)
    recipe = recipes.load(path)
    assert isinstance(recipe.data, VideosPart) and recipe.data.val is not None and recipe.data.val.is_file()
    assert recipe.baselines and recipe.idle_label == "none" and recipe.augment.flip == 0
    assert recipe.objective.class_weights == "balanced" and recipe.start.weights == "egomotion"
    assert read_made_by(path) == "mar-edge init 'it'\"'\"'s'"
    text = path.read_text()
    assert f"mar-edge train '{path}'" in text and "--precision int8 --calibrate" in text
    assert any("not mirrored" in doubt for doubt in result.doubts)
    assert any(line.startswith("memory: about") for line in result.needs)
    with pytest.raises(OutputError, match="may have been edited. Train it with: mar-edge train .*--force"):
        made(data, path)
    with pytest.raises(OutputError, match="Choose another name with -o$"):
        made(data, path, force=None)
    path.write_text("edited")
    made(data, path, force=True)
    recipes.load(path)


@pytest.mark.usefixtures("unmeasured", "unplanned")
@pytest.mark.parametrize(("out", "bundle"), [(".", "here"), ("runs/v1.2", "runs/v1.2/v1.2"), ("-run", "./-run/run")])
def test_the_bundle_has_the_name_of_the_folder(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch, out: str, bundle: str
) -> None:
    clips(tmp_path / "clips", videos, ["wave", "none"], people=3, each=2)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_recipe(Path("../clips"), Path(out, "recipe.yaml"), Path(out), InitOptions(), command=["mar-edge"])
    recipe = recipes.load(Path(out, "recipe.yaml"))
    text = Path(out, "recipe.yaml").read_text()
    assert recipe.name == Path(out).resolve().name and f"mar-edge run --model {bundle}.mar --camera 0" in text
    # the commands that the training prints at its end
    chosen = recipe.trainer.out / "chosen.safetensors"
    for one in next_commands(Trained.by(recipe, chosen), detects=True):
        assert one.line in text


@pytest.mark.usefixtures("unmeasured")
def test_what_does_not_fit_this_machine_is_said_and_the_training_refuses_it(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(recipe: recipes.Recipe, *_: object) -> Plan:
        tried.append(recipe.model.size_px)
        raise TrainingError("this training takes more. If the estimate is wrong, start with --force")

    monkeypatch.setattr(first_recipe, "plan_training", refuse)
    result = made(clips(tmp_path / "clips", videos, ["a", "b"], people=4, each=2), tmp_path / "r.yaml")
    assert tried[-1] == 64 and recipes.load(tmp_path / "r.yaml").model.size_px == 64
    assert "this training takes more" in result.doubts[-1] and result.needs[0].startswith("memory of the export")


@pytest.mark.usefixtures("unmeasured", "unplanned")
def test_actions_that_can_be_drawn_are(tmp_path: Path, videos: list[Path]) -> None:
    data = clips(tmp_path / "clips", videos, ACTIONS, people=3, each=2)
    made(data, tmp_path / "r.yaml")
    recipe = recipes.load(tmp_path / "r.yaml")
    assert isinstance(recipe.data, VideosPart) and recipe.data.figures is not None
    assert ("Sit", "Stand") in recipe.augment.reverse_swaps


def test_nothing_is_written_among_the_clips(tmp_path: Path, videos: list[Path]) -> None:
    data = clips(tmp_path / "clips", videos, ["a", "b"], people=3, each=2)
    for path, out in ((tmp_path / "r.yaml", data / "run"), (data / "r.yaml", tmp_path / "run")):
        with pytest.raises(OptionError, match="would be taken for clips"):
            make_recipe(data, path, out, InitOptions(), command=[])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.suffix != ".mp4") == ["a", "b", "clips"]


def test_broken_clips_are_named(tmp_path: Path, videos: list[Path]) -> None:
    data = clips(tmp_path / "clips", videos, ["a", "b"], people=4, each=2)
    for number, path in enumerate(sorted(data.glob("a/*"))):
        path.write_bytes(path.read_bytes()[: 200 + number])
    with pytest.raises(DataError, match="of 8 clips cannot be read: .*mar-edge data check"):
        made(data, tmp_path / "r.yaml")
    assert not (tmp_path / "r.yaml").exists()


@pytest.mark.usefixtures("unplanned")
def test_everything_is_measured(tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[recipes.Recipe] = []

    def keep(recipe: recipes.Recipe, *_: Any) -> Costs:
        asked.append(recipe)
        return COSTS

    monkeypatch.setattr(first_recipe, "measure", keep)
    data = clips(tmp_path / "clips", videos, ACTIONS, people=3, each=2)
    made(data, tmp_path / "r.yaml")
    costs = measure(asked[0], read_video_list(data), CPU)
    assert costs.precision in ("bf16", "32") and 1 <= costs.busy <= 3
    assert all(value > 0 for name, value in vars(costs).items() if name.endswith("_s"))
