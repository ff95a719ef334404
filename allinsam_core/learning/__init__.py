"""Stage 2: the adapter, losses, one training loop, tiled inference."""

from allinsam_core import _torchvision

_torchvision.ensure()  # before any module here imports segment-anything
