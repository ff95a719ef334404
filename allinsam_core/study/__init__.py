"""Configuration, runs and provenance, tables, figures, the audit of the published numbers."""
