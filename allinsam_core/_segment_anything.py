"""segment-anything's models without the rest of that package.

Its `__init__` also imports the automatic mask generator, and with it torchvision: three seconds before anything is
computed, and an error beside a torch without CUDA, to whose operators torchvision from PyPI is not linked. Here it
runs when someone asks the package for a name that it has from there.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

PACKAGE = "segment_anything"


def ensure() -> None:
    """Import `segment_anything.build_sam` and `segment_anything.modeling`; nothing more, unless it is there already."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed; pip install segment-anything")
    if PACKAGE not in sys.modules:
        package, loader = module_from_spec(spec), spec.loader

        def whole(name: str) -> Any:
            if name.startswith("__"):  # what Python itself looks for
                raise AttributeError(name)
            loader.exec_module(package)
            vars(package).pop("__getattr__", None)
            return getattr(package, name)

        package.__getattr__ = whole  # type: ignore[method-assign]
        sys.modules[PACKAGE] = package
    importlib.import_module(f"{PACKAGE}.build_sam")
