"""How good a model is: metrics, and reports that people read, without torch."""
