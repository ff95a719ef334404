"""A candidate for the printed "IoU": the Jaccard index of every pixel column, averaged.

Summing a (1, H, W) array over axes (0, 1) instead of (1, 2) leaves one value a column. On real nuclei with
boundary errors the mean of those lies a little below the Jaccard index of the whole image, which is the sign
and size of ADJ − IoU in Table 3. This module measures that on given truth masks; it cannot say what the
authors ran.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from study.audit.audit import jaccard_of_dice


class PixelScores(Protocol):
    """What `allinsam_core.metrics.pixel.evaluate` returns, as far as it is needed here."""

    @property
    def dice(self) -> float: ...
    @property
    def jaccard(self) -> float: ...
    @property
    def iou_column(self) -> float: ...


Evaluate = Callable[[np.ndarray, np.ndarray], PixelScores]


@dataclass(frozen=True)
class BoundaryError:
    """Moves the outline of a mask: outwards by `shift` px everywhere, ± `amplitude` px (one sd) along it.

    correlation: px, standard deviation of the Gaussian that smooths the noise; the larger, the slower the
    outline waves.
    """

    shift: float
    amplitude: float
    correlation: float

    def __call__(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """mask: (H, W) bool → (H, W) bool."""
        if not mask.any() or mask.all():
            return mask.copy()
        inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
        distance = np.where(mask, inside - 0.5, 0.5 - outside)  # > 0 inside, 0 on the outline
        noise = gaussian_filter(rng.standard_normal(mask.shape), self.correlation, mode="wrap")
        moved: np.ndarray = distance + self.shift + self.amplitude * noise / noise.std() > 0
        return moved


SETTINGS: tuple[BoundaryError, ...] = tuple(
    BoundaryError(*values)  # shift, amplitude, correlation
    for values in (
        (0.0, 1.0, 4.0),
        (0.0, 2.0, 4.0),
        (0.0, 3.0, 6.0),
        (0.0, 3.0, 8.0),
        (0.0, 5.0, 10.0),
        (0.0, 3.0, 40.0),
        (1.0, 1.0, 4.0),  # too large, as masks of weak labels are
        (1.0, 2.0, 4.0),
        (1.0, 3.0, 6.0),
        (2.0, 2.0, 4.0),
        (2.0, 3.0, 6.0),
        (3.0, 4.0, 10.0),
    )
)


@dataclass(frozen=True)
class Row:
    """One image under one draw of one error setting."""

    name: str
    draw: int
    shift: float
    amplitude: float
    correlation: float
    dice: float
    jaccard: float
    iou_column: float

    @property
    def setting(self) -> BoundaryError:
        return BoundaryError(self.shift, self.amplitude, self.correlation)


@dataclass(frozen=True)
class Summary:
    """Means over images and draws for one setting."""

    setting: BoundaryError
    images: int
    draws: int
    dice: float
    jaccard: float
    iou_column: float

    @property
    def gap(self) -> float:
        """Mean Jaccard − mean column average: what ADJ − IoU would be."""
        return self.jaccard - self.iou_column

    @property
    def below_bound(self) -> bool:
        """The column average is below D̄ / (2 − D̄), as the printed IoU is; a mean Jaccard cannot be."""
        return self.iou_column < jaccard_of_dice(self.dice)


def column_average_demo(
    masks: Mapping[str, np.ndarray],
    settings: Sequence[BoundaryError] = SETTINGS,
    evaluate: Evaluate | None = None,
    seed: int = 0,
    draws: int = 3,
) -> tuple[Row, ...]:
    """Score disturbed truth against truth.

    masks: name → (H, W) bool. evaluate(prob, truth): None takes `metrics.pixel.evaluate`. Raises on no masks.
    """
    if not masks:
        raise ValueError("column_average_demo: no masks given, expected at least one truth mask")
    if evaluate is None:
        from allinsam_core.metrics.pixel import evaluate as pixel_evaluate

        evaluate = pixel_evaluate
    rows = []
    for setting, draw, (position, (name, mask)) in product(settings, range(draws), enumerate(masks.items())):
        rng = np.random.default_rng([seed, settings.index(setting), draw, position])
        scores = evaluate(setting(mask, rng).astype(np.float32), mask)
        values = (float(scores.dice), float(scores.jaccard), float(scores.iou_column))
        rows.append(Row(name, draw, setting.shift, setting.amplitude, setting.correlation, *values))
    return tuple(rows)


def summarise(rows: Sequence[Row]) -> tuple[Summary, ...]:
    """Mean over images and draws, one summary a setting, in order of first appearance."""
    summaries = []
    for setting in dict.fromkeys(row.setting for row in rows):
        chosen = [row for row in rows if row.setting == setting]
        means = [float(np.mean([getattr(row, key) for row in chosen])) for key in ("dice", "jaccard", "iou_column")]
        names, numbers = {row.name for row in chosen}, {row.draw for row in chosen}
        summaries.append(Summary(setting, len(names), len(numbers), *means))
    return tuple(summaries)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """The record from which the book draws its numbers: one line an image and setting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(Row.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v if isinstance(v, str) else round(v, 6) for k, v in asdict(row).items()})


def read_rows(path: Path) -> tuple[Row, ...]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such record; make it with `allinsam book audit-columns` and commit it")
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return tuple(
        Row(line.pop("name"), int(line.pop("draw")), **{key: float(text) for key, text in line.items()})
        for line in lines
    )
