"""The judge of a run: what is written of a scored image. Outlines are judged by outlines, points by points.

Tables are what a run leaves, by file name: "rows", one line an image, and of points also "confusion" and "reliability",
pooled over the images, and "examples", every nucleus of the first images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from allinsam_core.data.case import Case
from allinsam_core.metrics import instance, pixel
from study import detection
from study.config import Run
from study.multiclass import ClassSettings, class_table
from study.point_columns import ANY, MICROMETRES, NONE, hits_column

EXAMPLES = 2  # images whose nuclei are kept, for a page to show


class Judge(ABC):
    """Takes one scored image after another."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, case: Case, prob: np.ndarray, found: np.ndarray, about: Mapping[str, Any]) -> None:
        """prob, found: what `Method.segment` gave for the case. about: what a row says besides the scores."""
        self.rows.append({"image": case.name, **about, **self.scores(case, prob, found)})

    @abstractmethod
    def scores(self, case: Case, prob: np.ndarray, found: np.ndarray) -> dict[str, Any]:
        """The scores of one image, by column."""

    def tables(self) -> dict[str, pd.DataFrame]:
        """All that is to be written, by name."""
        return {"rows": pd.DataFrame(self.rows)}


class Outlines(Judge):
    """Pixel and instance metrics against true outlines. prob: (H, W)."""

    def __init__(self, eight_bit: bool = False) -> None:
        super().__init__()
        self.eight_bit = eight_bit

    def scores(self, case: Case, prob: np.ndarray, found: np.ndarray) -> dict[str, Any]:
        return {
            **asdict(pixel.evaluate(prob, case.mask, eight_bit=self.eight_bit)),
            **asdict(instance.evaluate(found, case.instances)),
        }


class ByPoints(Judge):
    """Detection of every class against true points. prob: (C, H, W), in the order of the classes."""

    def __init__(self, classes: ClassSettings) -> None:
        super().__init__()
        self.names = classes.names
        size = len(self.names)
        self.confusion = np.zeros((size + 1, size + 1), int)
        self.reliability = np.zeros((size, detection.BINS, 3))
        self.examples: list[dict[str, Any]] = []

    def scores(self, case: Case, prob: np.ndarray, found: np.ndarray) -> dict[str, Any]:
        """F1 at the data set's distance; counts at all distances, and at that one by the authors' greedy rule too."""
        pred = detection.points_of(found, prob)
        truth = detection.true_points(case.instances, class_table(case, self.names) - 1)
        counts = {
            distance: detection.count(pred, truth, len(self.names), distance / case.spacing) for distance in MICROMETRES
        }
        main = counts[detection.DISTANCE]
        greedy = detection.count(pred, truth, len(self.names), detection.DISTANCE / case.spacing, "greedy")
        self.confusion += main.confusion
        self.reliability += main.reliability
        if len(self.rows) < EXAMPLES:
            self.examples += self._nuclei(case, pred, truth)
        each = detection.f1(main.hits, main.truth, main.pred)
        words = (*self.names, ANY)
        row: dict[str, Any] = {"f1_point_mean": float(np.nanmean(each[:-1]))}
        for at, word in enumerate(words):
            row[f"f1_point_{word}"] = float(each[at])
        for at, word in enumerate(words):
            row |= {f"truth_{word}": int(main.truth[at]), f"pred_{word}": int(main.pred[at])}
            row |= {hits_column(word, distance): int(counts[distance].hits[at]) for distance in MICROMETRES}
            row[f"{hits_column(word, detection.DISTANCE)}_greedy"] = int(greedy.hits[at])
        return row

    def _nuclei(self, case: Case, pred: detection.Points, truth: detection.Points) -> list[dict[str, Any]]:
        """One line a nucleus: where it was found, else where it is; its true and its predicted class, or NONE."""
        words, distance = (*self.names, NONE), detection.DISTANCE / case.spacing
        partner = np.full(len(pred.xy), -1)
        found = detection.pairs(pred.xy, truth.xy, distance)
        partner[found[:, 0]] = found[:, 1]
        true_kinds = np.append(truth.kinds, len(self.names))[partner]
        missed = np.setdiff1d(np.arange(len(truth.xy)), found[:, 1])
        seen = zip(pred.xy, true_kinds, pred.kinds, strict=True)
        unseen = ((truth.xy[n], truth.kinds[n], len(self.names)) for n in missed)
        return [
            {"image": case.name, "x": x, "y": y, "truth": words[true], "predicted": words[kind]}
            for (x, y), true, kind in (*seen, *unseen)
        ]

    def tables(self) -> dict[str, pd.DataFrame]:
        words = (*self.names, NONE)
        confusion = pd.DataFrame(self.confusion, index=pd.Index(words, name="truth"), columns=list(words)).reset_index()
        lines = [
            {"class": name, "from": low / detection.BINS, "nuclei": int(n), "confidence": total, "hits": int(hits)}
            for name, bins in zip(self.names, self.reliability, strict=True)
            for low, (n, total, hits) in enumerate(bins)
        ]
        pooled = {"confusion": confusion, "reliability": pd.DataFrame(lines)}
        return {**super().tables(), **pooled, "examples": pd.DataFrame(self.examples)}


def judge(config: Run) -> Judge:
    """The judge of a run."""
    classes = getattr(config, "classes", None)
    return Outlines(getattr(config, "eight_bit", False)) if classes is None else ByPoints(classes)
