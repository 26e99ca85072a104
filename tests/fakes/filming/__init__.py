"""Filming and decoding without cameras, pictures and processes."""
