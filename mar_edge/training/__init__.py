"""Trains MAR models: data, objective, trainer, evaluation."""
