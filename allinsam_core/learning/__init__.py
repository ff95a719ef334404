"""Stage 2: the adapter, losses, one training loop, tiled inference."""
