"""Data sets beside MoNuSeg, one file each."""
