"""Simulated tissue, glomeruli and label errors."""
