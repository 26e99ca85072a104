"""Augmentation of training clips."""
