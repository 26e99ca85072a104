"""Synthetic clips with exact labels: drawn figures and virtual camera moves."""
