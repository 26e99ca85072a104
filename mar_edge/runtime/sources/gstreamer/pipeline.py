"""Texts of GStreamer pipelines: those of CSI cameras, and what is appended to one of the user's."""

from __future__ import annotations

import re
from collections.abc import Callable

from mar_edge.runtime.sources.address import check_options, invalid, parse_rate, parse_size
from mar_edge.runtime.sources.pixel_layout import PixelFormat

SINK = "mar_edge_frames"
"""Name of the appsink."""

FORMATS: dict[str, PixelFormat] = {"RGB": "rgb24", "BGR": "bgr24", "NV12": "nv12", "I420": "yuv420p", "GRAY8": "gray"}
"""Formats that are taken as they come, and converted when a frame is looked at; videoconvert makes others RGB."""

_NVIDIA_DECODERS = ("decodebin", "decodebin3", "uridecodebin", "uridecodebin3", "nvv4l2decoder", "nvarguscamerasrc", "nvjpegdec", "nvv4l2camerasrc")  # fmt: skip
"""Elements whose pictures lie in NVIDIA's own memory on Jetson, where `videoconvert` cannot read them."""

_SECRET = re.compile(
    r"\b(?:user[\w-]*|[\w-]*(?:pass|pw|secret|token|key)[\w-]*)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s!]+)", re.IGNORECASE
)


def elements_of(pipeline: str) -> list[str]:
    """Return the names of a pipeline's elements, without their properties."""
    names = []
    for part in re.sub(r"\"(?:[^\"\\]|\\.)*\"", "", pipeline).split("!"):
        words = part.split()
        names += [word for word in words if re.fullmatch(r"[A-Za-z][\w-]*", word)]
    return names


def secrets_of(pipeline: str) -> list[str]:
    """Return the values of a pipeline that are named like secrets, longest first."""
    found = {match[1].strip('"') for match in _SECRET.finditer(pipeline)}
    return sorted(filter(None, found), key=len, reverse=True)


def whole_pipeline(pipeline: str, has: Callable[[str], bool]) -> str:
    """Return a pipeline with what brings its pictures here.

    On Jetson, NVIDIA's converter comes first where the pictures may lie in NVIDIA's memory.

    Args:
        pipeline: it ends with an element that gives raw video.
        has: whether GStreamer has an element.

    Raises:
        SourceError: if it is empty, or ends in a sink of its own.
    """
    text = pipeline.strip().rstrip("!").strip()
    if not text:
        raise invalid("gst: has no pipeline; write for instance gst:videotestsrc is-live=true")
    names = elements_of(text)
    sinks = [name for name in names if re.fullmatch(r"\w+sink", name)]
    if sinks:
        raise invalid(f"gst: the pipeline has a {sinks[-1]}; leave it out, mar-edge appends its own appsink")
    from_nvidia = any(name in _NVIDIA_DECODERS for name in names) and not any("vidconv" in name for name in names)
    convert = "nvvidconv ! video/x-raw ! " if from_nvidia and has("nvvidconv") else ""
    formats = ",".join(FORMATS)
    return f"{text} ! {convert}videoconvert ! video/x-raw,format=(string){{{formats}}} ! appsink name={SINK}"


def csi_pipeline(number: int, options: dict[str, str], has: Callable[[str], bool]) -> str:
    """Return the pipeline of a CSI camera: NVIDIA's elements if there are any, otherwise libcamera's.

    Args:
        number: of the camera.
        options: `size` and `fps` of the address.
        has: whether GStreamer has an element.

    Raises:
        SourceError: if an option is unknown, or there are no elements for such cameras.
    """
    name = f"csi camera {number}"
    check_options(name, options, ("size", "fps"))
    caps = ""
    if "size" in options:
        width, height = parse_size(name, options["size"])
        caps += f",width={width},height={height}"
    if "fps" in options:
        caps += f",framerate={_fraction(parse_rate(name, options['fps']))}"
    if has("nvarguscamerasrc") and has("nvvidconv"):
        return (
            f"nvarguscamerasrc sensor-id={number} ! video/x-raw(memory:NVMM),format=NV12{caps} ! "
            "nvvidconv ! video/x-raw,format=NV12"
        )
    if has("libcamerasrc"):
        if number:
            raise invalid(
                f"{name}: libcamera names cameras instead of numbering them. Run: cam --list, then --source "
                "'gst:libcamerasrc camera-name=NAME'"
            )
        return f"libcamerasrc ! video/x-raw{caps}"
    raise invalid(
        f"{name}: GStreamer has no element for CSI cameras, neither nvarguscamerasrc of NVIDIA Jetson nor libcamerasrc. "
        "On Jetson install nvidia-l4t-gstreamer, elsewhere gstreamer1.0-libcamera; for a USB camera use --camera"
    )


def _fraction(rate_fps: float) -> str:
    """Return a rate as GStreamer writes it: `30/1`, `30000/1001`."""
    whole = round(rate_fps)
    if abs(rate_fps - whole) < 1e-6:
        return f"{whole}/1"
    ntsc = round(rate_fps * 1001 / 1000)
    return f"{ntsc * 1000}/1001" if abs(rate_fps - ntsc * 1000 / 1001) < 0.005 else f"{round(rate_fps * 1000)}/1000"
