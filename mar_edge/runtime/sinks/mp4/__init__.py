"""H.264 in MP4 files that play up to the last second, whatever ends their writer."""
