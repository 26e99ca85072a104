"""Reading and seeking in video files."""
