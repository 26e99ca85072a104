"""Checkpoints of others: official MAR, official VideoMAE, Hugging Face VideoMAE; each becomes a model of ours, exactly or not at all."""
