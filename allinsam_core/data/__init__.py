"""Images, the manifest, MoNuSeg, its splits and fractions."""
