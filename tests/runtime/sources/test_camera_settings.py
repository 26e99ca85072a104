"""Size, rate and pixel format of a camera, and what is said when it delivers something else."""

from __future__ import annotations

import cv2
import pytest

from mar_edge.runtime.sources.camera import CameraSource
from mar_edge.runtime.sources.camera_settings import PIXEL_FORMATS, CameraSettings
from tests.fakes.cameras import AdjustableCamera

WIDTH, HEIGHT, FPS, FOURCC = (
    cv2.CAP_PROP_FRAME_WIDTH,
    cv2.CAP_PROP_FRAME_HEIGHT,
    cv2.CAP_PROP_FPS,
    cv2.CAP_PROP_FOURCC,
)
MJPG, YUYV = (float(cv2.VideoWriter.fourcc(*name)) for name in ("MJPG", "YUYV"))
AT_FIRST: dict[int, float] = {WIDTH: 640.0, HEIGHT: 480.0, FPS: 30.0, FOURCC: YUYV}
ASKED = CameraSettings(size_px=(1280, 720), fps=60, pixel_format="mjpg")


def camera(accepted: dict[int, set[float]], values: dict[int, float] = AT_FIRST) -> AdjustableCamera:
    return AdjustableCamera(accepted=accepted, values=values)


def connected(capture: AdjustableCamera, settings: CameraSettings, times: int = 1) -> list[str]:
    """Open and close a camera; return its warnings."""
    source = CameraSource(0, open_capture=lambda _index: capture, settings=settings)
    for _ in range(times):
        connection = source.connect()
        assert connection.read(5) is not None
        connection.close()
    return source.warnings.take()


def test_settings_that_a_camera_accepts_are_asked_for_in_order_and_not_told() -> None:
    capture = camera({WIDTH: {1280}, HEIGHT: {720}, FPS: {60}, FOURCC: {MJPG}})
    assert connected(capture, ASKED) == []
    assert capture.asked == [(FOURCC, MJPG), (WIDTH, 1280), (HEIGHT, 720), (FPS, 60)]


def test_one_warning_states_what_a_camera_delivers_instead() -> None:
    expected = "camera 0 does not support 1280x720 at 60 fps in mjpg; it delivers 640x480 at 30 fps in yuyv. Run: v4l2-ctl --list-formats-ext"
    assert connected(camera({}), ASKED, times=3) == [expected]  # once, however often it reconnects


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (CameraSettings(size_px=(640, 480)), None),
        (CameraSettings(size_px=(1280, 720)), "640x480 at 30 fps in yuyv"),
        (CameraSettings(fps=29.97), None),
        (CameraSettings(fps=15), "640x480 at 30 fps in yuyv"),
        (CameraSettings(pixel_format="yuyv"), None),
        (CameraSettings(pixel_format="nv12"), "640x480 at 30 fps in yuyv"),
    ],
)
def test_only_what_was_asked_for_is_compared(settings: CameraSettings, told: str | None) -> None:
    warnings = connected(camera({}), settings)
    assert (told is None) == (warnings == [])
    assert all(f"it delivers {told}" in message for message in warnings)


def test_a_driver_that_does_not_say_its_rate_and_format_is_believed() -> None:
    assert connected(camera({WIDTH: {1280}, HEIGHT: {720}}, {WIDTH: 640.0, HEIGHT: 480.0}), ASKED) == []


def test_a_camera_without_settings_is_asked_for_nothing() -> None:
    capture = camera({})
    assert connected(capture, CameraSettings()) == []
    assert capture.asked == []


def test_every_pixel_format_has_a_code_of_four_letters() -> None:
    assert all(len(code) == 4 for code in PIXEL_FORMATS.values())
    assert str(CameraSettings.parse("camera:0", {"format": "YUY2"})) == "its size in yuyv"
