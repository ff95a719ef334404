"""Molecular-empowered All-in-SAM: annotation, learning, refinement and metrics of nuclei.

What a laboratory needs is named in `__all__` and imported on first use, so that `import allinsam_core` is quick.

    model = allinsam_core.load("mine.safetensors")              # load(): the small SAM that ships
    nuclei = allinsam_core.segment(image, model, spacing=0.25)  # nuclei.instances: (H, W) int32
    print(allinsam_core.score(nuclei.instances, truth).instance.aji_kumar)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Case": "data.case",
    "Model": "model",
    "Nuclei": "nuclei",
    "annotate": "nuclei",
    "load": "model",
    "score": "nuclei",
    "segment": "nuclei",
    "train": "training",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
