"""Stage 3: molecular-oriented corrective learning (MOCL)."""
