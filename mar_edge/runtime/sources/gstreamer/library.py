"""GStreamer through PyGObject, which is loaded when it is first needed."""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

from mar_edge.errors import MissingExtraError

_INSTALL = (
    "Run: sudo apt-get install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good, and install mar-edge in an environment that sees the system's packages: "
    "/usr/bin/python3 -m venv --system-site-packages ENV"
)


class GstLibrary(NamedTuple):
    """The modules of `gi.repository` with which GStreamer is used."""

    gst: Any
    glib: Any
    video: Any


@functools.cache
def load_gst() -> GstLibrary:
    """Load and initialise GStreamer.

    Raises:
        MissingExtraError: if PyGObject or GStreamer is missing; the message says what to install.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyGObject's importer is of an older kind, which Python warns about
            import gi

            for name in ("Gst", "GstApp", "GstVideo"):
                gi.require_version(name, "1.0")
            from gi.repository import GLib, Gst, GstApp, GstVideo  # noqa: F401 - GstApp gives appsink its methods
    except ImportError as error:
        raise MissingExtraError(
            f"PyGObject, Python's access to GStreamer, is not installed: {error}. {_INSTALL}"
        ) from error
    except ValueError as error:  # a library without its description
        raise MissingExtraError(f"GStreamer is not installed completely: {error}. {_INSTALL}") from error
    if not Gst.is_initialized() and not Gst.init_check(None)[0]:
        raise MissingExtraError(f"GStreamer cannot be initialised. {_INSTALL}")
    return GstLibrary(Gst, GLib, GstVideo)


def has_element(name: str) -> bool:
    """Return whether GStreamer has an element of this name."""
    return load_gst().gst.ElementFactory.find(name) is not None
