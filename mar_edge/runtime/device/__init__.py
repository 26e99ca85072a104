"""Which machine this is, and what was measured or built on it."""
