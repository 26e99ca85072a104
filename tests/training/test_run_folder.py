"""The states in a run's folder: what is damaged is told and not used, and what is not ours is not replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mar_edge.errors import CheckpointError, OutputError
from mar_edge.model import checkpoint
from mar_edge.model.config import build
from mar_edge.training.fabric import make_fabric
from mar_edge.training.recipe import TrainerPart
from mar_edge.training.run_folder import RunFolder
from mar_edge.training.state.newest import earlier_passes
from mar_edge.training.state.state_file import PREVIOUS, STATE, damage
from tests.fakes.family import INFO, TINY


class Run:
    """A run of one number."""

    def __init__(self, folder: Path) -> None:
        fabric = make_fabric(TrainerPart(steps=1, out=folder, accelerator="cpu", devices=1))
        self.folder = RunFolder(folder, {"seed": "1"}, fabric)
        self.module = torch.nn.Linear(8, 8)

    def save(self, step: int) -> None:
        torch.nn.init.constant_(self.module.weight, step)
        self.folder.save({"module": self.module}, {"step": step, "passes": [step, 1]})

    def resume(self) -> int | None:
        progress = self.folder.resume({"module": self.module})
        if progress is None:
            return None
        assert (self.module.weight == progress["step"]).all()
        return int(progress["step"])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Run]]:
    """Starts a run; the one before has ended."""
    runs: list[Run] = []

    def make() -> Run:
        for run in runs:
            run.folder.close()
        runs.append(Run(tmp_path))
        return runs[-1]

    yield make
    for run in runs:
        run.folder.close()


def flip(data: bytes) -> bytes:
    """Change one bit of a weight, which torch loads as it is."""
    place = data.index(torch.full((2,), 2.0).numpy().tobytes())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "is empty"),
    "zeros": (lambda data: bytes(len(data)), "contains only zeros"),
    "its end cut": (lambda data: data[:-400], "it is cut off"),
    "half": (lambda data: data[: len(data) // 2], "it is cut off"),
    "a bit": (flip, r"the checksum of its part .* differs"),
    "zeros at the end": (lambda data: data[:-1000] + bytes(1000), "it is cut off, or its end is overwritten"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_newest_state_falls_back_to_the_one_before_and_never_takes_its_place(
    tmp_path: Path, start: Callable[[], Run], name: str
) -> None:
    run = start()
    for step in (1, 2):
        run.save(step)
    spoil, said = DAMAGES[name]
    (tmp_path / STATE).write_bytes(spoil((tmp_path / STATE).read_bytes()))
    run = start()
    assert run.resume() == 1
    assert run.folder.warning is not None
    assert str(tmp_path / STATE) in run.folder.warning and "\n" not in run.folder.warning
    assert re.search(said, run.folder.warning)
    run.save(3)
    assert torch.load(tmp_path / PREVIOUS, weights_only=True)["progress"]["step"] == 1
    run.save(4)
    assert torch.load(tmp_path / PREVIOUS, weights_only=True)["progress"]["step"] == 3
    run = start()
    assert run.resume() == 4
    assert run.folder.warning is None


def test_a_missing_newest_state_falls_back_too(tmp_path: Path, start: Callable[[], Run]) -> None:
    run = start()
    assert run.resume() is None
    for step in (1, 2):
        run.save(step)
    assert earlier_passes(tmp_path) == (2, 1)
    (tmp_path / STATE).unlink()
    assert earlier_passes(tmp_path) == (1, 1)
    run = start()
    assert run.folder.goes_on
    assert run.resume() == 1
    assert run.folder.warning is not None and "is missing; the training resumes from" in run.folder.warning


def test_without_a_sound_state_the_error_names_both_and_the_way_out(tmp_path: Path, start: Callable[[], Run]) -> None:
    run = start()
    run.save(1)
    (tmp_path / STATE).write_bytes(b"")
    run = start()
    with pytest.raises(CheckpointError, match=r"last.state.pt is empty.*Move it away to start again from step 0"):
        run.resume()
    (tmp_path / PREVIOUS).write_bytes(bytes(100))
    with pytest.raises(CheckpointError, match=r"last.state.pt is empty.*, and previous.state.pt contains only zeros"):
        run.resume()
    assert earlier_passes(tmp_path) is None


def foreign_archive(path: Path) -> None:
    torch.save({"mine": torch.zeros(3)}, path)


def foreign_text(path: Path) -> None:
    path.write_text("mine")


@pytest.mark.parametrize("name", [STATE, PREVIOUS])
@pytest.mark.parametrize("write", [foreign_archive, foreign_text])
def test_files_of_others_under_the_names_of_states_are_refused_and_kept(
    tmp_path: Path, start: Callable[[], Run], name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(OutputError, match="was not written by mar-edge as a training state. Set trainer.out"):
        start()
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_system_without_hard_links(
    tmp_path: Path, start: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", unsupported)
    run = start()
    for step in (1, 2, 3):
        run.save(step)
    assert [torch.load(tmp_path / name, weights_only=True)["progress"]["step"] for name in (STATE, PREVIOUS)] == [3, 2]


def test_blank_files_of_a_power_cut_do_not_stop_the_next_start(tmp_path: Path, start: Callable[[], Run]) -> None:
    run = start()
    run.save(1)
    for name in ("last.safetensors", "best.safetensors", "log.jsonl", "report.html"):
        (tmp_path / name).write_bytes(bytes(5000))
    run = start()
    assert run.resume() == 1
    run.folder.write_log([{"step": 1}])
    assert (tmp_path / "log.jsonl").read_bytes().startswith(b'{"step": 1')


def test_a_state_of_an_earlier_version_is_resumed(tmp_path: Path, start: Callable[[], Run]) -> None:
    run = start()
    run.save(1)
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state["schema"]
    torch.save(state, tmp_path / STATE)
    assert damage(tmp_path / STATE) is None
    assert start().resume() == 1


def test_a_pipe_in_place_of_a_state_is_not_waited_for(tmp_path: Path, start: Callable[[], Run]) -> None:
    os.mkfifo(tmp_path / STATE)
    with pytest.raises(CheckpointError, match=r"last.state.pt cannot be read: it is a named pipe.*Move it away"):
        start().resume()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: b"", "is empty: its content was lost, as in a power cut. Copy it again, or use the other"),
        (lambda data: bytes(len(data)), "contains only zeros: its content was lost"),
        (lambda data: data[:-1000], "is damaged or cut off: .*Copy it again, or use the other checkpoint"),
    ],
)
def test_a_checkpoint_without_its_content_is_named_with_the_next_step(
    tmp_path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, build(TINY), TINY, INFO)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=rf"last.safetensors {said}"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError, match=rf"last.safetensors {said}"):
        checkpoint.read_config(path)
