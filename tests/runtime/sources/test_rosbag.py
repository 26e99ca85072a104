"""Real bags of ROS 1 and ROS 2, written by `rosbags`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from mar_edge.errors import MissingExtraError, SourceError
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.open import open_source
from mar_edge.runtime.sources.recordings import rosbag
from mar_edge.runtime.sources.recordings.ros_picture import ENCODINGS
from mar_edge.runtime.sources.recordings.rosbag import RosbagSource
from mar_edge.runtime.sources.source import Reading

Kind = Literal["ros1", "sqlite3", "mcap"]
KINDS: tuple[Kind, ...] = ("ros1", "sqlite3", "mcap")
WIDTH, HEIGHT = 16, 12
SECOND_NS = 10**9
Message = tuple[str, int, Any]
"""Topic, time of recording in ns, message."""


def store_of(kind: Kind) -> Any:
    return get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)


def header(store: Any, stamp_ns: int) -> Any:
    stamp = store.types["builtin_interfaces/msg/Time"](stamp_ns // SECOND_NS, stamp_ns % SECOND_NS)
    kind = store.types["std_msgs/msg/Header"]
    return kind(0, stamp, "camera") if "seq" in kind.__annotations__ else kind(stamp, "camera")


def image(
    store: Any, picture: NDArray[Any], encoding: str = "rgb8", *, stamp_ns: int = 0, step: int = 0, big: bool = False
) -> Any:
    """Return a `sensor_msgs/Image` of an array (H, W, ...)."""
    data = np.ascontiguousarray(picture)
    rows = data.reshape(data.shape[0], -1).view(np.uint8)
    return store.types["sensor_msgs/msg/Image"](
        header=header(store, stamp_ns),
        height=data.shape[0],
        width=data.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=step or rows.shape[1],
        data=rows.reshape(-1),
    )


def compressed(store: Any, ending: str, picture: NDArray[np.uint8], stamp_ns: int) -> Any:
    data = cv2.imencode(ending, picture[..., ::-1])[1]
    return store.types["sensor_msgs/msg/CompressedImage"](header(store, stamp_ns), ending[1:], data.reshape(-1))


def text(store: Any) -> Any:
    return store.types["std_msgs/msg/String"]("hello")


def write_bag(folder: Path, kind: Kind, messages: Callable[[Any], Sequence[Message]]) -> Path:
    """Write a bag; return what a user names."""
    store = store_of(kind)
    path = folder / ("bag.bag" if kind == "ros1" else "bag")
    writer: Any
    if kind == "ros1":
        writer = Writer1(path)
    else:
        plugin = StoragePlugin.SQLITE3 if kind == "sqlite3" else StoragePlugin.MCAP
        writer = Writer2(path, version=9, storage_plugin=plugin)
    serialize = store.serialize_ros1 if kind == "ros1" else store.serialize_cdr
    with writer:
        connections: dict[str, Any] = {}
        for topic, time_ns, message in messages(store):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=store)
            data = serialize(message, message.__msgtype__)
            writer.write(connections[topic], time_ns, data)
    return path


def picture(index: int) -> NDArray[np.uint8]:
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def film(store: Any, topic: str = "/camera/image_raw", stamps_s: Sequence[float] = (5, 5.1, 5.2)) -> list[Message]:
    """Pictures whose header stamps differ from the times of recording, and another topic."""
    messages: list[Message] = []
    for index, stamp_s in enumerate(stamps_s):
        recorded_ns = 9 * SECOND_NS + index * SECOND_NS
        messages.append((topic, recorded_ns, image(store, picture(index), stamp_ns=round(stamp_s * SECOND_NS))))
        messages.append(("/chatter", recorded_ns + 1, text(store)))
    return messages


def read_all(source: RosbagSource) -> list[Frame]:
    with Reading(source) as frames:
        return list(frames)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_come_with_the_times_of_their_headers(kind: Kind, tmp_path: Path) -> None:
    path = write_bag(tmp_path, kind, film)
    source = open_source(path)
    assert isinstance(source, RosbagSource)
    assert not source.live
    for _ in range(2):
        frames = read_all(source)
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2])
        assert {(frame.size_px, frame.color, frame.arrived_s) for frame in frames} == {((WIDTH, HEIGHT), "rgb", None)}
        assert all(np.array_equal(frame.picture, picture(index)) for index, frame in enumerate(frames))
    assert source.warnings.take() == []


def test_a_single_mcap_file(tmp_path: Path) -> None:
    folder = write_bag(tmp_path, "mcap", film)
    (file,) = folder.glob("*.mcap")
    assert len(read_all(RosbagSource(file))) == 3


def test_without_stamps_the_times_of_recording_count(tmp_path: Path) -> None:
    path = write_bag(tmp_path, "mcap", lambda store: film(store, stamps_s=(0, 0, 0)))
    assert [frame.time_s for frame in read_all(RosbagSource(path))] == [0, 1, 2]


def test_times_that_do_not_rise_are_skipped_and_told(tmp_path: Path) -> None:
    path = write_bag(tmp_path, "sqlite3", lambda store: film(store, stamps_s=(5, 6, 5.5, 6, 7)))
    source = RosbagSource(path)
    assert [frame.time_s for frame in read_all(source)] == [0, 1, 2]
    assert source.warnings.take() == [f"{path}: 2 messages were skipped whose time stamp does not rise"]


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_pictures(kind: Kind, tmp_path: Path) -> None:
    smooth = np.asarray(cv2.resize(picture(0)[:2, :2], (64, 48)), np.uint8)
    path = write_bag(
        tmp_path,
        kind,
        lambda store: [
            ("/c", 1, compressed(store, ".png", smooth, SECOND_NS)),
            ("/c", 2, compressed(store, ".jpg", smooth, 2 * SECOND_NS)),
        ],
    )
    png, jpg = read_all(RosbagSource(path))
    assert np.array_equal(png.picture, smooth)
    assert np.abs(jpg.picture.astype(int) - smooth).mean() < 4


def test_topics(tmp_path: Path) -> None:
    path = write_bag(tmp_path, "ros1", lambda store: film(store, "/front/image_raw") + film(store, "/back/image_raw"))
    with pytest.raises(SourceError) as error:
        RosbagSource(path).connect()
    assert str(error.value) == (
        f"{path} has 2 image topics: /back/image_raw (Image, 3 messages); /front/image_raw (Image, 3 messages). "
        f"Name one: --source '{path}?topic=/back/image_raw'"
    )
    assert not error.value.retry
    for spec in (f"{path}?topic=/front/image_raw", f"bag:{path}?topic=front/image_raw"):
        source = open_source(spec)
        assert isinstance(source, RosbagSource)
        assert len(read_all(source)) == 3
    with pytest.raises(SourceError, match=r"no image topic '/frnt/image_raw' \(did you mean '/front/image_raw'\?\)"):
        RosbagSource(path, "/frnt/image_raw").connect()
    with pytest.raises(SourceError, match="no image topic '/chatter'"):
        RosbagSource(path, "/chatter").connect()


def test_a_bag_without_pictures(tmp_path: Path) -> None:
    path = write_bag(tmp_path, "sqlite3", lambda store: [("/chatter", 1, text(store))])
    with pytest.raises(SourceError, match="has no topic of sensor_msgs/Image .*; it has /chatter") as error:
        RosbagSource(path).connect()
    assert error.value.code == "not-found"


def encoded(encoding: str, rgb: NDArray[np.uint8]) -> NDArray[Any]:
    """Return an RGB picture in an encoding of ROS."""
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    if encoding.startswith("bayer"):
        pattern = [["rgb".index(letter) for letter in row] for row in (encoding[6:8], encoding[8:10])]
        mosaic = np.empty(rgb.shape[:2], np.uint8)
        for top in (0, 1):
            for left in (0, 1):
                mosaic[top::2, left::2] = rgb[top::2, left::2, pattern[top][left]]
        return mosaic
    yuv = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_YUY2)) if encoding.startswith("yuv") or encoding in ("uyvy", "yuyv") else rgb  # fmt: skip
    return {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "8uc3": rgb[..., ::-1],
        "rgba8": np.dstack([rgb, alpha]),
        "bgra8": np.dstack([rgb[..., ::-1], alpha]),
        "mono8": grey,
        "8uc1": grey,
        "mono16": grey.astype(np.uint16) << 8,
        "yuv422": yuv[..., ::-1],
        "uyvy": yuv[..., ::-1],
        "yuv422_yuy2": yuv,
        "yuyv": yuv,
    }[encoding]


@pytest.mark.parametrize("encoding", [one for one in ENCODINGS if one != "nv12"])
def test_every_encoding_shows_the_same_picture(encoding: str, tmp_path: Path) -> None:
    # colours without much red and green, so that a wrong order of the mosaic is seen
    rgb = np.full((HEIGHT, WIDTH, 3), (40, 90, 200), np.uint8)
    rgb[:, WIDTH // 2 :] = (200, 120, 30)
    path = write_bag(tmp_path, "mcap", lambda store: [("/c", 1, image(store, encoded(encoding, rgb), encoding))])
    (frame,) = read_all(RosbagSource(path))
    seen = frame.picture if frame.color == "rgb" else frame.picture[..., ::-1]
    grey = "mono" in encoding or encoding == "8uc1"
    expected = np.stack([encoded("mono8", rgb)] * 3, axis=-1) if grey else rgb
    difference = np.abs(seen.astype(int) - expected)[2:-2, [3, 4, 5, -6, -5, -4]]
    assert difference.mean() < 6


def test_rows_with_padding_big_endian_and_nv12(tmp_path: Path) -> None:
    wide = np.zeros((HEIGHT, WIDTH + 4, 3), np.uint8)
    wide[:, :WIDTH] = picture(0)
    grey = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 300).reshape(HEIGHT, WIDTH)

    def messages(store: Any) -> list[Message]:
        padded = image(store, wide, stamp_ns=1 * SECOND_NS)
        padded.width = WIDTH
        nv12 = image(store, np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8), "nv12", stamp_ns=3 * SECOND_NS)
        nv12.height = HEIGHT
        big = image(store, grey.astype(">u2"), "mono16", stamp_ns=2 * SECOND_NS, big=True)
        return [("/c", 1, padded), ("/c", 2, big), ("/c", 3, nv12)]

    padded, big, nv12 = read_all(RosbagSource(write_bag(tmp_path, "ros1", messages)))
    assert np.array_equal(padded.picture, picture(0))
    assert np.array_equal(big.picture[..., 0], grey >> 8)
    assert np.abs(nv12.picture.astype(int) - 130).max() <= 1


def test_messages_that_cannot_be_shown_are_skipped_and_told(tmp_path: Path) -> None:
    def messages(store: Any) -> list[Message]:
        short = image(store, picture(0), stamp_ns=2 * SECOND_NS)
        short.height = 100
        strange = image(store, picture(0), "32FC1", stamp_ns=3 * SECOND_NS)
        good = image(store, picture(0), stamp_ns=SECOND_NS)
        return [("/c", 1, good), ("/c", 2, short), ("/c", 3, strange)]

    path = write_bag(tmp_path, "mcap", messages)
    source = RosbagSource(path)
    assert len(read_all(source)) == 1
    first, total = source.warnings.take()
    assert first == f"{path}: a message of /c holds 576 bytes; 16x100 pixels of rgb8 need 4,800; skipped"
    assert total == f"{path}: 2 messages were skipped in total"
    strange = write_bag(tmp_path, "ros1", lambda store: [("/c", 1, image(store, picture(0), "32FC1", stamp_ns=1))])
    with pytest.raises(SourceError, match="/c has no message that can be read; the first has the encoding '32FC1'"):
        read_all(RosbagSource(strange))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bags_give_an_error_or_frames(kind: Kind, tmp_path: Path) -> None:
    path = write_bag(tmp_path, kind, film)
    file = path if kind == "ros1" else next(one for one in path.iterdir() if one.suffix in (".db3", ".mcap"))
    whole = file.read_bytes()
    rng = np.random.default_rng(3)
    errors = 0
    for trial in range(25):
        data = bytearray(whole)
        if trial % 2:
            del data[int(rng.integers(1, len(data))) :]
        else:
            start = int(rng.integers(0, len(data) - 200))
            data[start : start + 200] = bytes(200)
        file.write_bytes(data)
        try:
            frames = read_all(RosbagSource(path))
            assert all(frame.picture.shape == (HEIGHT, WIDTH, 3) for frame in frames)
        except SourceError as error:
            errors += 1
            assert "\n" not in str(error)
    assert errors


def test_what_is_no_bag(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file: .*missing.bag") as error:
        RosbagSource(tmp_path / "missing.bag").connect()
    assert (error.value.code, error.value.retry) == ("not-found", False)
    for name in ("text.bag", "text.mcap"):
        (tmp_path / name).write_text("no bag")
        with pytest.raises(SourceError, match=f"{name} is not a ROS bag that can be read"):
            RosbagSource(tmp_path / name).connect()
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    with pytest.raises(SourceError, match="is not a ROS bag that can be read"):
        RosbagSource(tmp_path).connect()


def test_without_the_library_the_command_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mar_edge.extras.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"rosbags is not installed. Run: pip install 'mar-edge\[rosbag\]'"):
        RosbagSource(tmp_path / "a.bag").connect()


def test_the_library_is_loaded_only_for_a_bag() -> None:
    code = "import sys, mar_edge.runtime.sources.open; print(sorted({'rosbags', 'gi'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert rosbag.METADATA == "metadata.yaml"
