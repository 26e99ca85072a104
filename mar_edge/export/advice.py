"""The next step when a graph misses its bounds, as options of the command that created it."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from mar_edge.counting import counted, form
from mar_edge.export.clip_choice import ClipChoice

Advice = Callable[[str, ClipChoice], str]
"""Takes the precision of the graph and the clips of the export; returns one sentence."""


def for_export(precision: str, clips: ClipChoice) -> str:
    """Return the next step after `mar-edge export`."""
    if precision == "fp32":
        return "Report it, with the versions of torch and onnx"
    if precision == "fp16":
        return "Next: --precision bf16, or --precision fp32"
    if precision == "bf16":
        return "Next: --precision fp32"
    other = "int8" if precision == "int8-bf16" else "fp16"
    return f"Next: {_more('--calibrate', '--calibration-clips', clips)}, or --precision {other}"


def for_calibration(bundle: str) -> Advice:
    """Return a function that returns the next step after `mar-edge calibrate` of a bundle."""
    other = f"{bundle.rstrip('/').removesuffix('.mar')}-fp16.mar"
    command = shlex.join(["mar-edge", "export", bundle, "-o", other, "--precision", "fp16"])
    return lambda _precision, clips: f"Next: {_more('--data', '--clips', clips)}, or {command}"


def _more(data: str, count: str, clips: ClipChoice) -> str:
    found = clips.calibration
    if found is None or not found.files:
        return f"{data} with videos from the place of use"
    if len(found) < clips.wanted:  # there are no more in these videos
        return f"{data} with more than {form(len(found.files), 'this', 'these')} {counted(len(found.files), 'video')}, from the place of use"
    return f"{count} {2 * clips.wanted}"
