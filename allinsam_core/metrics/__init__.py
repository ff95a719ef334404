"""Pixel metrics, instance metrics and statistics. A name is a definition."""
