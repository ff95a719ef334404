"""Cases, one image with its truth each, and what can be wrong with their files."""
