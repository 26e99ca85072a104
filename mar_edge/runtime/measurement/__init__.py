"""Measures a graph's cost and accuracy on this device."""
