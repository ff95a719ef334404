"""Stage 1: boxes, SAM, and boxes turned into masks."""
