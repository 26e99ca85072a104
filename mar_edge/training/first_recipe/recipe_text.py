"""Writes a recipe as YAML with a comment on every choice, for people who have never seen one."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mar_edge.errors import RecipeError
from mar_edge.files.regular_file import SMALL_BYTES, read_limited
from mar_edge.printable import printable
from mar_edge.runtime.clips.preprocess import Resize
from mar_edge.training.first_recipe.budget import DRAWN_SHARE, LOOKS, VIEWS, Budget
from mar_edge.training.first_recipe.class_names import Mirroring
from mar_edge.training.first_recipe.start_model import StartModel
from mar_edge.training.first_recipe.window import Window
from mar_edge.training.judgement.choice import CHOSEN
from mar_edge.training.judgement.next_commands import Trained, command, next_commands

WIDTH = 120
"""Longest line of a comment."""


@dataclass(frozen=True)
class Choices:
    """Everything that was decided, each with its reason.

    Attributes:
        path: of the recipe.
        made_by: the command that made it.
        name, description: of the model.
        train, val, test: lists or folders; None for none.
        out, cache: folders of the run and of decoded clips.
        start: the model that training starts from.
        window: frames and rate.
        resize, resize_said: how pictures become square, and why.
        budget: size and steps.
        minutes: that it was made for.
        mirroring: whether clips are mirrored.
        idle_label, idle_said: the class that is no event, and why.
        weighted: why classes are weighted; None if they are not.
        reverse_swaps: whether clips of the drawn actions are also played backwards.
        precision: of the trainer.
    """

    path: Path
    made_by: str
    name: str
    description: str
    train: Path
    val: Path | None
    test: Path | None
    out: Path
    cache: Path
    start: StartModel
    window: Window
    resize: Resize
    resize_said: str
    budget: Budget
    minutes: float
    mirroring: Mirroring
    idle_label: str | None
    idle_said: str
    weighted: str | None
    reverse_swaps: bool
    precision: str


def write_text(choices: Choices) -> str:
    """Return the text of the recipe."""
    parts = (_head, _model, _data, _augment, _training)
    return "\n".join(line for part in parts for line in part(choices)) + "\n"


def read_made_by(path: Path) -> str | None:
    """Return the command that made a recipe; None if it was made by hand.

    Raises:
        RecipeError: if the file cannot be read.
    """
    try:
        text = read_limited(path, SMALL_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}. Choose another folder with -o") from error
    return next((line.removeprefix(_MADE_BY) for line in text.splitlines()[:10] if line.startswith(_MADE_BY)), None)


_MADE_BY = "# made by: "


def _head(choices: Choices) -> list[str]:
    out = choices.out
    trained = Trained(choices.name, out, out / CHOSEN, choices.train, choices.val, choices.test)
    following = next_commands(trained, detects=choices.idle_label is not None)
    commands = [command("train", choices.path), *(one.line for one in following)]
    return [
        *_comment(f"A recipe for {choices.minutes:g} minutes on the device that it was made on. Change what you like; every key: docs/reference/recipe.md."),
        f"{_MADE_BY}{choices.made_by}",
        "#",
        *(f"#   {printable(line)}" for line in commands),
        "#",
        *_comment("Paths start from the folder in which these commands are given."),
        *_pair("name", choices.name),
        *_pair("description", choices.description),
        *_pair("licence", "unknown", "that of your clips, if you pass the model on"),
        *_pair("seed", 0, "another number gives another training of the same kind"),
        *_pair("idle_label", choices.idle_label, choices.idle_said),
        *_pair("baselines", True, "first what is cheap: the largest class, a regression on optical flow, and probes of the built-in models"),
    ]  # fmt: skip


def _model(choices: Choices) -> list[str]:
    config, window = choices.start.config, choices.window
    return [
        "start:",
        *_pair("  weights", choices.start.name, f"{choices.start.said}; few clips are too few for fresh weights"),
        *_pair("  parts", "encoder", "its own classes are of no use here"),
        "model:",
        *_pair("  frames", window.frames, window.said),
        *_pair("  size_px", choices.budget.size_px, "the largest of 128, 96 and 64 with which enough steps fit into the minutes"),
        *_pair("  patch_px", config.geometry.patch_px, f"this and the next three are those of {choices.start.name}, so that its weights fit"),
        *_pair("  width", config.width),
        *_pair("  depth", config.depth),
        *_pair("  heads", config.heads),
        *_pair("  bridge_width", 128, "the classifier on top, as in training/arid.yaml; so is the decoder, which only trains"),
        *_pair("  bridge_depth", 2),
        *_pair("  bridge_heads", 4),
        *_pair("  decoder_width", 64),
        *_pair("  decoder_depth", 1),
        *_pair("  decoder_heads", 2),
        *_pair("  drop_path", 0.1, "leaves out parts of the model at random, against learning clips by heart"),
        *_pair("  input_norm", "clip", "each clip is brought to the same brightness and contrast"),
        *_pair("  positions", "grid"),
        *_pair("mask", {"kind": "cell_running", "ratio": 0.5}, "half of the picture is never looked at: half the work"),
    ]  # fmt: skip


def _data(choices: Choices) -> list[str]:
    window = choices.window
    judged = (
        "chooses the best model; none of its people, places and recordings trains" if choices.val else "none judges"
    )
    lines = [
        "data:",
        *_pair("  kind", "videos"),
        *_pair("  train", str(choices.train)),
        *_pair("  val", None if choices.val is None else str(choices.val), judged),
        *_pair("  rate_fps", window.rate_fps, "frames per second that the model sees, also live"),
        *_pair("  rate_jitter", 0.25, "training clips are up to a quarter faster or slower: people are, too"),
        *_pair("  resize", choices.resize, choices.resize_said),
        *_pair("  val_views", VIEWS, "windows of a validation clip whose answers are averaged"),
        *_pair("  cache", str(choices.cache), "decoded clips, for the next time; may be deleted"),
    ]
    if choices.budget.figures:
        drawn = {"clips": choices.budget.figures, "share": DRAWN_SHARE}
        lines += _pair(
            "  figures", drawn, "the classes are those of which mar-edge draws figures, in front of your backgrounds"
        )
    return lines


def _augment(choices: Choices) -> list[str]:
    mirroring = choices.mirroring
    lines = ["augment:"]
    if choices.reverse_swaps:
        lines += _pair("  reverse", 0.5, "played backwards half of the time: sitting down is standing up")
        pairs = [["Sit", "Stand"], *[[one, one] for one in ("Jump", "Run", "Turn", "Walk")]]
        lines += _pair("  reverse_swaps", pairs)
    lines += [
        *_pair("  crop_scale", [0.5, 1.0], "share of the picture: nearer, farther, not in the middle"),
        *_pair("  flip", mirroring.flip, mirroring.said),
    ]
    if mirroring.swaps:
        lines += _pair("  flip_swaps", [list(pair) for pair in mirroring.swaps], "[NAME, NAME] stays as it is")
    return [
        *lines,
        *_pair("  rotation_deg", 5),
        *_pair("  gamma", [0.6, 1.6], "darker and lighter"),
        *_pair("  fade_background", 0.5, "takes out what stands still: the room must not give the class away"),
        *_pair("  saturation", 0.5),
        *_pair("  grey", 0.3),
        *_pair("  noise", 4),
        *_pair("  erase", 0.25, "hides a part of the picture"),
    ]


def _training(choices: Choices) -> list[str]:
    budget = choices.budget
    steps = budget.steps
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in budget.spent_s.items())
    every = max(1, steps // LOOKS)
    weights = "balanced" if choices.weighted else "none"
    return [
        "objective:",
        *_pair("  reconstruction_weight", 0.1, "also learns to draw what is hidden"),
        *_pair("  flow_weight", 0.3, "also learns where things move to: few clips teach more this way"),
        *_pair("  label_smoothing", 0.1, "less sure of itself, as the labels are not sure either"),
        *_pair("  class_weights", weights, choices.weighted or "classes have about as many clips"),
        "optimiser:",
        *_pair("  kind", "muon", "learns in fewer steps than adamw"),
        *_pair("  muon_lr", 0.01),
        *_pair("  lr", 0.001),
        *_pair("  betas", [0.9, 0.95]),
        *_pair("  weight_decay", 0.05),
        *_pair("  warmup_steps", min(40, max(1, steps // 6)), "begins gently"),
        *_pair("  ema", 0.98 if steps >= 100 else 0.9, "the model is the average of its last steps"),
        "trainer:",
        *_pair("  steps", steps, f"{budget.limit}. Each has 64 clips and takes about {budget.step_s:.2g} s. Planned: {parts}"),
        *_pair("  validate_steps", every, "how often the validation clips are looked at"),
        *_pair("  checkpoint_steps", every, "after Ctrl-C or a power cut the same command goes on from the last one"),
        *_pair("  precision", choices.precision, "the faster one here: bf16 numbers have half the bits of 32"),
        *_pair("  out", str(choices.out), "checkpoints, log and report.html"),
    ]  # fmt: skip


def _pair(key: str, value: object, said: str | None = None) -> list[str]:
    """Return the lines of a key: its comment, which may be long, stands above it."""
    indent = " " * (len(key) - len(key.lstrip()))
    return [
        *(indent + line for line in ([] if said is None else _comment(said, WIDTH - len(indent)))),
        f"{key}: {_flow(value)}",
    ]


def _flow(value: object) -> str:
    """Return a value in one line of YAML: JSON is YAML, and plain words need no quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_PLAIN = re.compile(r"[A-Za-z][\w./-]*|\.{1,2}/[\w./-]+", re.ASCII)
_WORDS = {"y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf"}


def _comment(said: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(printable(said), width, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)


def command_line(words: Sequence[str]) -> str:
    """Return a command as it is typed."""
    return printable(shlex.join(words))
