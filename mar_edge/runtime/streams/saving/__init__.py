"""Spending less while a stream runs: a mask that follows the device, and still steps that are left out."""
