"""INT8: activation ranges from real clips, where Q/DQ goes, and what it costs in accuracy."""
