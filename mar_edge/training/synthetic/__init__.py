"""Clips that are drawn or moved by us, with exact labels."""
