"""MoNuSeg as a source of runs: all of it, at its own resolution or at half of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from allinsam_core.data import monuseg, splits
from allinsam_core.data.case import Case, Split
from allinsam_core.data.root import data_root

if TYPE_CHECKING:
    from study.data import DataSettings

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def by_split(settings: DataSettings, root: Path | None) -> dict[Split, list[Case]]:
    """The images by split; no patient may be in two. root: the folder that holds monuseg/; None: `data_root()`."""
    folder = root if root is not None else data_root()
    found: dict[Split, list[Case]] = {split: monuseg.load(folder, split) for split in SPLITS}
    splits.refuse_overlap(**found)
    if settings.source == "monuseg_20x":
        found = {split: [case.halved() for case in images] for split, images in found.items()}
    return found


def check(root: Path) -> None:
    """Raises MissingData where `root` does not hold every image; none of them is read."""
    for split in SPLITS:
        monuseg.files(root, split)
