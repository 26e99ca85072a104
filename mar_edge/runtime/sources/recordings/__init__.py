"""Recordings other than one video file: several files, still pictures, ROS bags."""
