"""How the shipped mini-SAM was made, and how good it is."""
