"""GStreamer pipelines as sources."""
