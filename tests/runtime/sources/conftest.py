"""GStreamer's tests run in a process of their own, see `test_gstreamer_process.py`."""

from __future__ import annotations

import os

OWN_PROCESS = "MAR_EDGE_GSTREAMER_TESTS"

collect_ignore = [] if os.environ.get(OWN_PROCESS) else ["test_gstreamer.py"]
