"""How nuclei are parted, chosen on validation images, and which of them are kept, chosen on training images.

Test images never reach this module. All combinations of the values in `PARTING` are tried, some fifteen watersheds an
image, then those in `KEEPING`; the one of the largest mean score stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from allinsam_core.learning.instances import InstanceSettings, dropped, parted
from allinsam_core.metrics import instance

Values = dict[str, tuple[float, ...]]
PARTING: dict[int, Values] = {  # by number of maps
    1: {"depth": (0.5, 1.0, 1.5, 2.0, 3.0), "smooth": (1.0, 2.0, 3.0)},
    3: {"map_depth": (0.02, 0.035, 0.05, 0.07, 0.1), "map_smooth": (1.0, 1.5, 2.0, 3.0)},
}
KEEPING: Values = {  # µm²; probability
    "smallest_area": (0.0, 3.0, 5.0, 8.0, 12.0),
    "lowest_peak": (0.0, 0.6, 0.7, 0.8, 0.9),
}


class Example(NamedTuple):
    """What a method gave for an annotated image, (1 or 3, H, W) float in [0, 1], its true labels (H, W), µm per px."""

    maps: np.ndarray
    truth: np.ndarray
    spacing: float


def score(found: np.ndarray, truth: np.ndarray) -> float:
    """What is made large: the mean of `f1_instance_50` and `aji_kumar`."""
    scores = instance.evaluate(found, truth)
    return (scores.f1_instance_50 + scores.aji_kumar) / 2


def tuned(val: Sequence[Example], train: Sequence[Example], settings: InstanceSettings) -> InstanceSettings:
    """`settings` with the fields of `PARTING` chosen on `val` and those of `KEEPING` on `train`.

    Training images are those that the method has learnt from: their objects are surer than a new image's, so that
    what is dropped there is dropped with caution. Raises ValueError without images.
    """
    for name, examples in (("validation", val), ("training", train)):
        if not examples:
            raise ValueError(f"no {name} image, expected at least one; settings cannot be chosen without")
    settings = _search(
        lambda s: _mean(score(dropped(parted(e.maps, s), e.maps[0], s, e.spacing), e.truth) for e in val),
        settings,
        PARTING[len(val[0].maps)],
    )
    return kept(train, settings)


def kept(examples: Sequence[Example], settings: InstanceSettings) -> InstanceSettings:
    """`settings` with the fields of `KEEPING` chosen on the examples."""
    whole = [parted(example.maps, settings) for example in examples]

    def mark(s: InstanceSettings) -> float:
        pairs = zip(whole, examples, strict=True)
        return _mean(score(dropped(labels, e.maps[0], s, e.spacing), e.truth) for labels, e in pairs)

    return _search(mark, settings, KEEPING)


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]


def _search(judge: Callable[[InstanceSettings], float], settings: InstanceSettings, values: Values) -> InstanceSettings:
    """The combination judged best; where none is better than the present one, that stays."""
    best, chosen = judge(settings), settings
    for combination in product(*values.values()):
        trial = settings.model_copy(update=dict(zip(values, combination, strict=True)))
        if trial != settings and (mark := judge(trial)) > best:
            chosen, best = trial, mark
    return chosen
