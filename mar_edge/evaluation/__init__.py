"""Evaluates models: metrics and readable reports, without torch."""
