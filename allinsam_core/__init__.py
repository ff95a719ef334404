"""Molecular-empowered All-in-SAM: annotation, learning, refinement, metrics and the study around them."""

__version__ = "0.1.0"
