"""Streaming inference without torch: sources, sampling, window, engines, events, sinks."""
