"""Making MAR models: data, objective, trainer, evaluation."""
