"""`mar-edge record`: clips of one class from a camera."""
