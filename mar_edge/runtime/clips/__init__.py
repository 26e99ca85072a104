"""From frames to what a model sees."""
