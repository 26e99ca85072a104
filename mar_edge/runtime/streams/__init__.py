"""One source with its window, its decision and its name."""
