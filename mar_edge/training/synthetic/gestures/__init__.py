"""Drawn clips of a hand that gestures: exact labels, any number."""
