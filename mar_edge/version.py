"""The version of mar-edge."""

__version__ = "0.1.0"
