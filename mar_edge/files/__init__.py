"""Writes files and folders atomically."""
