"""Lists the cameras of this machine."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from mar_edge.runtime.sources.capture import open_camera
from mar_edge.runtime.sources.device_node import HAS_NODES, camera_numbers, why_not_open


@dataclass(frozen=True, kw_only=True)
class CameraInfo:
    """A camera that may be used.

    Attributes:
        index: its number.
        width_px, height_px: of its pictures; 0 if it does not open.
        fps: frames per second that it reports.
        trouble: why it does not open; None if it does.
    """

    index: int
    width_px: int = 0
    height_px: int = 0
    fps: float = 0.0
    trouble: str | None = None


def list_cameras() -> list[CameraInfo]:
    """Return every camera that exists; on Linux including those that cannot be opened."""
    found = [_look_at(number) for number in camera_numbers()]
    return [camera for camera in found if camera.trouble is None or HAS_NODES]


def _look_at(number: int) -> CameraInfo:
    capture = open_camera(number)
    try:
        if not capture.isOpened():
            return CameraInfo(index=number, trouble=why_not_open(number).message)
        width, height, fps = (
            capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        )
        return CameraInfo(index=number, width_px=int(width), height_px=int(height), fps=fps)
    finally:
        capture.release()
