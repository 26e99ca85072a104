"""Tests of what the measurements compute; the measurements themselves take minutes and run by hand."""
