"""Batches: the same clips and masks whoever makes them, and whenever."""

from __future__ import annotations

import os
import signal
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mar_edge.errors import TrainingError
from mar_edge.masking import cell_running_mask, visible_indices
from mar_edge.training.augmentation.mixing import MixPart
from mar_edge.training.batches import Batches, MaskPart, Order, Rank, loaded_batches
from mar_edge.training.clip_source import Sample
from mar_edge.training.objective import Batch

GRID = (4, 4, 4)


class NumberedClips:
    """Clips whose first pixel is their number and whose second is drawn."""

    labels: tuple[str, ...] = ("even", "odd")
    classes = np.arange(10) % 2
    digest = "numbers"
    flow_channels = 2

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        clip = np.zeros((8, 64, 64, 3), np.uint8)
        clip[..., 0] = index
        clip[..., 1] = rng.integers(256)
        return Sample(clip, int(self.classes[index]), None, f"clip {index}")


def make(rank: Rank = Rank(0, 1), batch: int = 4, mask: MaskPart = MaskPart(), mixing: MixPart = MixPart()) -> Batches:  # noqa: B008
    order = Order(10, seed=3)
    return Batches(
        NumberedClips(), order, seed=3, grid=GRID, mask=mask, mixing=mixing, batch=batch, accumulate=2, rank=rank
    )


def same(a: Batch, b: Batch) -> bool:
    names = ("clips", "targets", "flows", "visible", "masked")
    return a.files == b.files and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


@given(st.integers(1, 20), st.integers(0, 9), st.integers(1, 4))
def test_every_clip_comes_as_often_as_it_should(count: int, seed: int, repeats: int) -> None:
    order = Order(count, seed, repeats=repeats)
    places = 2 * order.epoch_places  # an even number of epochs, so that no pair lies across the end
    counts = np.bincount([order(place) for place in range(places)], minlength=count)
    assert (counts == 2 * repeats).all()


def test_epochs_differ_and_repeats_come_as_pairs_in_a_row() -> None:
    order = Order(10, 0)
    first, second = ([order(place) for place in range(start, start + 10)] for start in (0, 10))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    twice = Order(10, 0, repeats=2)
    assert [twice(place) for place in range(8)] == [*first[:2], *first[:2], *first[2:4], *first[2:4]]


def test_rare_classes_come_as_often_when_balanced() -> None:
    weights = np.array([0.5, *[0.5 / 9] * 9])
    drawn = [Order(10, 1, weights=weights)(place) for place in range(2000)]
    assert np.mean(np.array(drawn) == 0) == pytest.approx(0.5, abs=0.05)


def test_a_batch_depends_on_its_number_alone() -> None:
    batches = make()
    later = batches[7]
    assert same(later, make()[7])
    assert not same(later, batches[8])


@pytest.mark.parametrize("mixing", [MixPart(), MixPart(mixup_alpha=0.8, cutmix_alpha=1.0)])
def test_two_processes_see_together_what_one_with_the_doubled_batch_sees(mixing: MixPart) -> None:
    whole = make(batch=4, mixing=mixing)[5]
    parts = [make(Rank(number, 2), batch=2, mixing=mixing)[5] for number in (0, 1)]
    assert parts[0].files + parts[1].files == whole.files
    for name in ("clips", "targets", "visible", "masked"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_worker_processes_make_the_same_batches_in_the_same_order() -> None:
    with loaded_batches(make(), 3, 9, workers=0, pin_memory=False) as passes:
        alone = list(passes)
    assert len(alone) == 6
    with loaded_batches(make(), 3, 9, workers=2, pin_memory=False) as passes:
        for ours, theirs in zip(alone, passes, strict=True):
            assert same(ours, theirs)


def test_worker_processes_survive_the_signals_of_their_group_and_end_with_the_block() -> None:
    with loaded_batches(make(), 0, 40, workers=1, pin_memory=False) as passes:
        next(passes)
        (worker,) = active_children()
        assert worker.pid is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker.pid, number)
        assert len(list(passes)) == 39
    worker.join(10)
    assert worker.exitcode == 0


def test_a_worker_process_ends_with_a_training_that_fails() -> None:
    """An error leaves the loader open; Python then ends its processes with SIGTERM."""
    with pytest.raises(TrainingError), loaded_batches(make(), 0, 40, workers=1, pin_memory=False) as passes:
        next(passes)
        (worker,) = active_children()
        worker.terminate()  # of the trainer, but not at its end
        worker.join(0.3)
        assert worker.is_alive()
        raise TrainingError("the loss is NaN")
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_masks_are_drawn_until_the_last_part_of_the_training() -> None:
    batches = make(mask=MaskPart(ratio=0.75, fixed_from=3))
    fixed = torch.from_numpy(visible_indices(cell_running_mask(GRID, 0.75))).expand(4, -1)
    assert not torch.equal(batches[5].visible, fixed)  # forward passes 4 and 5 are step 2
    assert torch.equal(batches[6].visible, fixed)
    assert batches[0].visible.shape == (4, 16)
    assert batches[0].masked.shape == (4, 48)


def test_a_folder_for_temporary_files_with_too_long_a_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 20)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with pytest.raises(TrainingError, match="too long a path for the sockets of loader processes"):
        loaded_batches(object(), 0, 1, workers=1, pin_memory=False).__enter__()  # type: ignore[arg-type]
