"""Hostile inputs: valid files that are changed at random, by a seed, and what reads them."""
