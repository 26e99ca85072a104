"""Pictures of ROS bags: ROS 1 (`.bag`), and ROS 2 with SQLite or MCAP."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mar_edge.counting import counted
from mar_edge.errors import FrameError, SourceError
from mar_edge.extras import require
from mar_edge.reporting import Warnings
from mar_edge.runtime.frame import Frame
from mar_edge.runtime.sources.address import did_you_mean
from mar_edge.runtime.sources.bgr import BgrPictures
from mar_edge.runtime.sources.iterator import Frames, IteratorConnection
from mar_edge.runtime.sources.recordings.ros_picture import compressed_frame, image_frame
from mar_edge.runtime.video.folder_walk import why_missing

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection as Topic

METADATA = "metadata.yaml"
"""The file that makes a folder a bag of ROS 2."""

_CONVERTERS: dict[str, Callable[[Any, float, BgrPictures], Frame]] = {
    "sensor_msgs/msg/Image": image_frame,
    "sensor_msgs/msg/CompressedImage": compressed_frame,
}


def is_bag(path: Path) -> bool:
    """Return whether a path is named as a bag, or is the folder of one."""
    return path.suffix.lower() in (".bag", ".mcap") or os.path.isfile(path / METADATA)


class RosbagSource:
    """Every picture of one topic of a ROS bag.

    The time of a frame is the stamp of its message's header; if the first message has none, that at which messages were
    recorded. Messages that cannot be read, and those whose time does not rise, are skipped with a warning.

    Args:
        path: a `.bag`, a `.mcap`, or the folder of a ROS 2 bag.
        topic: of `sensor_msgs/Image` or `sensor_msgs/CompressedImage`; None if the bag has only one.
    """

    live = False

    def __init__(self, path: Path, topic: str | None = None) -> None:
        self.path = path
        self.topic = topic
        self.name = str(path)
        self.dropped = 0
        self.warnings = Warnings()

    def connect(self) -> IteratorConnection:
        """Open the bag at its beginning.

        Raises:
            SourceError: if it is missing or damaged, or has no such topic, or several and none was named.
            MissingExtraError: if `rosbags` is not installed.
        """
        require("rosbags", "rosbag")
        if not self.path.exists():
            raise SourceError(why_missing(self.path), code="not-found", retry=False)
        reader = self._open()
        try:
            topics = self._choose(reader)
        except BaseException:
            reader.close()
            raise
        return IteratorConnection(self._frames(reader, topics), reader.close)

    def _open(self) -> AnyReader:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore

        try:
            reader = AnyReader([self.path], default_typestore=get_typestore(Stores.LATEST))
            reader.open()
        except Exception as error:  # the library lets struct, SQLite and decompression errors of damaged bags through
            raise self._unreadable(error) from error
        return reader

    def _choose(self, reader: AnyReader) -> list[Topic]:
        """Return the connections of the topic: several if it was published by several nodes."""
        found: dict[str, list[Topic]] = {}
        for one in reader.connections:
            if one.msgtype in _CONVERTERS:
                found.setdefault(one.topic, []).append(one)
        names = sorted(found)
        listed = "; ".join(
            f"{name} ({found[name][0].msgtype.rpartition('/')[2]}, {counted(sum(one.msgcount for one in found[name]), 'message')})"
            for name in names
        )
        if not names:
            others = ", ".join(sorted({one.topic for one in reader.connections})) or "nothing"
            raise SourceError(
                f"{self.name} has no topic of sensor_msgs/Image or sensor_msgs/CompressedImage; it has {others}",
                code="not-found",
                retry=False,
            )
        if self.topic is not None:
            wanted = next((name for name in names if name.strip("/") == self.topic.strip("/")), None)
            if wanted is None:
                raise SourceError(
                    f"{self.name} has no image topic '{self.topic}'{did_you_mean(self.topic, names)}; it has {listed}",
                    code="not-found",
                    retry=False,
                )
            return found[wanted]
        if len(names) > 1:
            raise SourceError(
                f"{self.name} has {counted(len(names), 'image topic')}: {listed}. Name one: --source "
                f"'{self.path}?topic={names[0]}'",
                retry=False,
            )
        return found[names[0]]

    def _frames(self, reader: AnyReader, topics: list[Topic]) -> Frames:
        skipped, late = _Skipped(), 0
        wide = BgrPictures(lambda message: self.warnings(f"{self.name} {message}"))
        start_ns: int | None = None
        stamped = True
        last_s = -1.0
        messages = reader.messages(topics)
        while (item := self._next(messages)) is not None:
            topic, recorded_ns, data = item
            try:
                message: Any = reader.deserialize(data, topic.msgtype)
                stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                if start_ns is None:
                    stamped = stamp_ns > 0
                now_ns = stamp_ns if stamped else recorded_ns
                start_ns = now_ns if start_ns is None else start_ns
                frame = _CONVERTERS[topic.msgtype](message, (now_ns - start_ns) / 1e9, wide)
            except Exception as error:  # whatever a damaged message makes the library raise
                why = (
                    str(error) if isinstance(error, FrameError) else f"cannot be read: {type(error).__name__}: {error}"
                )
                if skipped.add(why):
                    self.warnings(f"{self.name}: a message of {topic.topic} {why}; skipped")
                continue
            if frame.time_s <= last_s:
                late += 1
                continue
            last_s = frame.time_s
            yield frame
        if last_s < 0:
            why = f"; the first {skipped.first}" if skipped.count else ""
            raise SourceError(f"{self.name}: {topics[0].topic} has no message that can be read{why}", retry=False)
        if skipped.count > 1:
            self.warnings(f"{self.name}: {counted(skipped.count, 'message', 'was', 'were')} skipped in total")
        if late:
            self.warnings(
                f"{self.name}: {counted(late, 'message', 'was', 'were')} skipped whose time stamp does not rise"
            )

    def _next(self, messages: Any) -> tuple[Topic, int, bytes] | None:
        try:
            item: tuple[Topic, int, bytes] | None = next(messages, None)
        except Exception as error:
            raise self._unreadable(error) from error
        return item

    def _unreadable(self, error: Exception) -> SourceError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return SourceError(f"{self.name} is not a ROS bag that can be read: {reason}", retry=False)


class _Skipped:
    """Messages that were skipped, and why the first one was."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, why: str) -> bool:
        """Count one; return whether it is the first."""
        self.count += 1
        self.first = self.first or why
        return self.count == 1
