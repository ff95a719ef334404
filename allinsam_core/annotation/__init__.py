"""Stage 1: boxes, SAM, boxes turned into masks, weak labels."""
