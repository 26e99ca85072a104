"""How training clips are varied."""
