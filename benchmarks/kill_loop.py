"""Kills commands (SIGKILL) at random times, and checks that the next start works and that no file of others is gone.

PYTHONPATH=. python benchmarks/kill_loop.py [--kills 20] [--seed 0] [--only export]

Every command runs in a fork of this process, which has all libraries loaded, so that kills hit the work and not the start.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning_fabric  # noqa: F401
import numpy as np
import onnx  # noqa: F401
import onnxscript  # noqa: F401
import torch
import yaml

from mar_edge.bundle import open_bundle
from mar_edge.cli.main import main as command_line
from mar_edge.datasets.clip_reader import open_clips
from mar_edge.datasets.video_list import read_video_list
from mar_edge.files.unfinished import SUFFIX
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.runtime.measurement.choice import choose
from tests.fakes.family import INFO, TINY, write_family
from tests.fakes.films import moving_square, write_film, write_films
from tests.fakes.recipes import tiny

FOREIGN = {"mine.partial": b"7 GB of a download", ".m.mar.host-1.x": b"mine", "last.state.pt.partial": b"mine"}


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        run: runs it, in a child.
        check: raises if its result is not complete.
        places: folders that it writes to, and in which nothing unfinished may be left.
        reset: removes its result, so that it works again.
    """

    run: Callable[[], None]
    check: Callable[[], None]
    places: tuple[Path, ...]
    reset: Callable[[], None] = lambda: None


def said(*words: str | Path) -> Callable[[], None]:
    """Return a function that runs a command."""

    def run() -> None:
        sys.argv = ["mar-edge", *map(str, words)]
        command_line()

    return run


def cases(folder: Path) -> dict[str, Case]:
    """Prepare all commands in a folder."""
    torch.manual_seed(0)
    model, out, cache = folder / "tiny.safetensors", folder / "out", Path(os.environ["MAR_EDGE_CACHE"])
    checkpoint.save(model, build(TINY), TINY, INFO)
    videos = write_films(folder / "videos", 4)
    values = tiny(folder, videos)
    values["trainer"] |= {"steps": 20, "checkpoint_steps": 1, "out": str(out / "run")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    family = folder / "tiny.mar"
    write_family(family, precisions=("fp32",))
    for name in range(24):
        write_film(folder / "many" / f"{name}.mp4", np.repeat(moving_square("left", name, size_px=128), 8, axis=0))
    rows = "".join(f"{name}.mp4,{'ab'[name % 2]}\n" for name in range(24))
    (folder / "many" / "list.csv").write_text(f"path,label\n{rows}")

    def fill() -> None:
        open_clips(
            read_video_list(folder / "many" / "list.csv"), resize="stretch", height_px=128, width_px=128, short_side_px=None,
            cache=out / "clips",
        )  # fmt: skip

    def check_export() -> None:
        open_bundle(out / "m.mar")

    def check_training() -> None:
        checkpoint.load(out / "run" / "last.safetensors")

    def check_verify() -> None:
        assert "measured" in (reason := choose(open_bundle(family), threads=1).reason), reason
        assert "not measured" not in reason and "damaged" not in reason, reason

    def check_int8() -> None:
        assert [v for v in open_bundle(out / "c.mar").manifest.variants if v.precision == "int8"]

    def check_clips() -> None:
        assert len(list((out / "clips").glob("*.clip"))) == 24

    calibrate = ("calibrate", "egomotion", "--data", folder / "videos", "--mask", "50", "-o", out / "c.mar")
    return {
        "export": Case(said("export", model, "-o", out / "m.mar"), check_export, (out,)),
        "training": Case(
            said("train", folder / "recipe.yaml"),
            check_training,
            (out, out / "run"),
            lambda: shutil.rmtree(out / "run", ignore_errors=True),
        ),
        "calibration": Case(said(*calibrate), check_int8, (out, cache / "calibration")),
        "verify": Case(said("verify", family, "--threads", "1"), check_verify, (cache / "measurements",)),
        "cache": Case(fill, check_clips, (out / "clips",), lambda: shutil.rmtree(out / "clips", ignore_errors=True)),
    }


def start(case: Case, log: Path) -> int:
    """Run a command in a child with a process group of its own."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    code = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        case.run()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    finally:
        os._exit(code)


def complete(case: Case, log: Path) -> float:
    """Run a command to its end; return how long that took."""
    began_s = time.monotonic()
    _, status = os.waitpid(start(case, log), 0)
    assert status == 0, f"the next start failed: {log.read_text()[-2000:]}"
    case.check()
    return time.monotonic() - began_s


def loop(name: str, case: Case, folder: Path, kills: int, rng: random.Random) -> None:
    """Kill one command some times."""
    log = folder / f"{name}.log"
    for place in case.places:
        place.mkdir(parents=True, exist_ok=True)
    complete(case, log)  # the first takes longer
    case.reset()
    for place in case.places:
        place.mkdir(parents=True, exist_ok=True)
    duration_s = complete(case, log)
    hit = with_remains = 0
    for _ in range(kills):
        case.reset()
        for place in case.places:
            place.mkdir(parents=True, exist_ok=True)
            for foreign, content in FOREIGN.items():
                (place / foreign).write_bytes(content)
        child = start(case, log)
        time.sleep(rng.uniform(0, duration_s))
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        hit += status == signal.SIGKILL
        time.sleep(0.3)  # its workers end with it
        with_remains += any(path.name.endswith(SUFFIX) for place in case.places for path in place.iterdir())
        complete(case, log)
        for place in case.places:
            left = [path.name for path in place.iterdir() if path.name.endswith(SUFFIX)]
            assert not left, f"{name}: left {left}"
            for foreign, content in FOREIGN.items():
                assert (place / foreign).read_bytes() == content, f"{name}: {foreign} is gone"
    print(
        f"{name}: {kills} kills, {hit} before its end ({duration_s:.1f} s); {with_remains} left unfinished files, which the next "
        "start removed; every next start worked, and no file of others changed",
        flush=True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=20, help="of each command")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", action="append")
    options: Any = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MAR_EDGE_CACHE"] = str(folder / "cache")
        (folder / "cache").mkdir(mode=0o700)
        rng = random.Random(options.seed)
        for what, case in cases(folder).items():
            if not options.only or what in options.only:
                loop(what, case, folder, options.kills, rng)


if __name__ == "__main__":
    main()
