"""What exists: manifest, MoNuSeg, DSB2018, simulated tissue, splits and fractions."""
