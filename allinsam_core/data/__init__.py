"""What exists: manifest, MoNuSeg, DSB2018, in-house patches, simulated tissue, splits, fractions, label errors."""
