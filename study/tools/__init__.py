"""The commands of `allinsam`, and the file formats that they read and write."""
