"""MONAI's networks, without the packages that MONAI tries at its import and no network here needs.

They cost half of the seconds of that import: transformers, and jsonschema, which compiles grammars of addresses.
MONAI goes on where they are not installed, so for the moment of its import they seem not to be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

NOT_NEEDED = ("transformers", "jsonschema")


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """An import of these packages fails within this block; what was imported before is there again after it."""
    before = {name: sys.modules[name] for name in packages if name in sys.modules}
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]  # None: Python's mark of what is not there
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]
        sys.modules.update(before)


with absent(*NOT_NEEDED):
    from monai.networks.nets import DynUNet, FlexibleUNet, UNet
    from monai.networks.nets.flexible_unet import SegmentationHead, UNetDecoder

__all__ = ["DynUNet", "FlexibleUNet", "SegmentationHead", "UNet", "UNetDecoder"]
