"""A camera that faces its user: model and sinks see its pictures mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mar_edge.cli.run import run
from mar_edge.errors import OptionError
from mar_edge.runtime.clips.windows import to_model
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.model import Model
from mar_edge.runtime.results import Prediction, ShownFrame
from mar_edge.runtime.streams.runner import Runner
from mar_edge.runtime.streams.session import Session
from mar_edge.testing import FakeEngine, ListSink
from tests.fakes.command_line import records
from tests.fakes.stateful_engine import StatefulEngine

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def film(height: int = 48, width: int = 64, count: int = 6) -> NDArray[np.uint8]:
    """Pictures of noise, smooth enough that a resize leaves something of it."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 7, 9, 3), dtype=np.uint8)
    return np.stack([cv2.resize(picture, (width, height)) for picture in small]).astype(np.uint8)


def seen(engine: FakeEngine, session: Session, pictures: NDArray[np.uint8], color: Any) -> NDArray[np.uint8]:
    """Return all that the model saw, (windows, T, H, W, 3)."""
    engine.clips.clear()
    for index, picture in enumerate(pictures):
        session.push(picture, index / 10, color=color)
    return np.stack(engine.clips)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("resize", ["stretch", "center_crop"])
@pytest.mark.parametrize("size", [(48, 64), (32, 32), (20, 90), (721, 1283)])
def test_the_model_sees_the_exact_mirror_image(size: tuple[int, int], resize: str, color: Any) -> None:
    engine = FakeEngine(frames=4)
    engine.spec = engine.spec.model_copy(update={"resize": resize})
    pictures = film(*size)
    plain = seen(engine, Session(engine, hop=1), pictures, color)
    mirrored = seen(engine, Session(engine, hop=1, mirror=True), pictures, color)
    assert np.array_equal(mirrored, plain[:, :, :, ::-1])
    assert not np.array_equal(mirrored, plain)
    # a camera that mirrors its pictures itself is as good: the resize alone rounds otherwise, or crops a pixel beside
    itself = to_model(np.ascontiguousarray(pictures[3][:, ::-1]), engine.spec, color=color)[0]
    assert np.abs(itself.astype(int) - mirrored[0, 3].astype(int)).mean() < (1 if resize == "stretch" else 4)


def test_a_streaming_model_and_its_state_are_mirrored() -> None:
    engine = StatefulEngine()
    session = Model(engine).session(mirror=True)
    for index, picture in enumerate(film()):
        session.push(picture, index / 10)
    kept = session.state()
    with pytest.raises(
        OptionError, match=r"of a session with mirror=True; restore it in one: model.session\(mirror=True\)"
    ):
        Session(StatefulEngine()).restore(kept)
    Session(StatefulEngine(), mirror=True).restore(kept)


def test_sinks_are_given_what_the_model_sees() -> None:
    engine, sink, pictures = FakeEngine(frames=4), ListSink(["frame", "prediction"]), film()
    timed = [(picture, index / 10) for index, picture in enumerate(pictures)]
    with Runner(sinks=[sink]) as runner:
        runner.add(timed, Model(engine), mirror=True, name="selfie")
        runner.add(timed, Model(FakeEngine(frames=4)), name="door")
        runner.wait()
    for stream, sign in (("selfie", -1), ("door", 1)):
        shown = [one.frame for one in sink.of(ShownFrame) if one.stream == stream]
        assert len(shown) == len(pictures)
        assert all(
            np.array_equal(one.picture, picture[:, ::sign]) for one, picture in zip(shown, pictures, strict=True)
        )
        assert shown[0].picture.flags.c_contiguous  # as encoders and windows need it
    assert sink.of(Prediction)


def test_the_mirror_image_of_a_frame_is_made_once_and_only_if_it_is_looked_at() -> None:
    asked = []

    def picture() -> NDArray[np.uint8]:
        asked.append(1)
        return np.asarray(film()[0])

    frame = Frame(picture=picture, size_px=(64, 48), time_s=2.0, color="bgr", arrived_s=5.0, held=True, cut="b begins")
    mirrored = frame.mirrored()
    assert not asked
    assert mirrored.picture is mirrored.picture and asked == [1]
    assert [getattr(mirrored, name) for name in ("size_px", "time_s", "color", "arrived_s", "held", "cut")] == [
        (64, 48), 2.0, "bgr", 5.0, True, "b begins",
    ]  # fmt: skip


def test_what_a_script_says_is_not_compared_with_its_mirror_image() -> None:
    model = Model(FakeEngine(frames=4))
    source = "demo:size=64x48,loops=1,realtime=no"
    assert all(result.truth is not None for result in model.stream(source, max_s=1))
    assert all(result.truth is None for result in model.stream(source, max_s=1, mirror=True))


def events_of(path: Path, **options: Any) -> Iterator[str]:
    """Run the command for some moves of the demo camera, and give the labels of the events that have ended."""
    run(source=["demo:size=320x240,realtime=no"], json=str(path), max_seconds=9.0, **options)
    yield from (line["label"] for line in records(path.read_text()) if line["type"] == "event" and "end_s" in line)


SWAPPED = {"pan_left": "pan_right", "pan_right": "pan_left", "roll_clockwise": "roll_counter_clockwise"}


def test_the_command_mirrors_and_events_are_as_its_options_say(tmp_path: Path) -> None:
    plain = list(events_of(tmp_path / "a.jsonl"))
    mirrored = list(events_of(tmp_path / "b.jsonl", mirror=True, min_duration=0.5, cooldown=0.0))
    assert {"pan_left", "pan_right"} & set(plain)
    assert mirrored == [SWAPPED.get(label, label) for label in plain]
    assert list(events_of(tmp_path / "c.jsonl", min_duration=3600.0)) == []
    with pytest.raises(OptionError, match=r"offset: offset 0.4 is above onset 0.2.*give both"):
        run(source=["demo"], onset=0.2)
