"""Imports foreign checkpoints: official MAR, official VideoMAE, Hugging Face VideoMAE; exactly, or with an error."""
