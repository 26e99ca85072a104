"""Streaming inference without torch: sources, sampling, window, engines, events, sinks."""

# before any module here loads PyAV: after it, OpenCV's windows find the libxcb of PyAV's wheel, and opening one never returns
import cv2  # noqa: F401
