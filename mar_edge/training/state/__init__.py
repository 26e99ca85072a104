"""The state of a training run: how it is written, checked and found again."""
