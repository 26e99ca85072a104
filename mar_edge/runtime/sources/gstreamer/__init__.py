"""Cameras and pipelines of GStreamer, through PyGObject."""
