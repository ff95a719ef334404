"""One PAS patch of the molecular arm: image, registered IF, the masks that annotators drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from skimage.measure import label as components

from allinsam_core.data.case import Case, Split
from allinsam_core.data.errors import DataError

CellType = Literal["podocyte", "mesangial"]
CELL_TYPES: tuple[CellType, ...] = get_args(CellType)
METRICS = ("f1_pixel_macro", "f1_instance_50")  # what Table 1's rows are scored by
Marker = Literal["WT1", "GATA3", "DAPI"]
MARKERS: tuple[Marker, ...] = get_args(Marker)
MARKER_OF: dict[CellType, Marker] = {"podocyte": "WT1", "mesangial": "GATA3"}  # paper §4.1
SPACING = 0.5  # µm per pixel at 20×

# Unit optical densities in RGB of haematoxylin and of Schiff's magenta after periodic acid, measured by G. Landini
# ("H PAS" of the ImageJ plugin Colour Deconvolution, after Ruifrok & Johnston, Anal Quant Cytol Histol 2001).
HAEMATOXYLIN = (0.644211, 0.716556, 0.266844)
MAGENTA = (0.175411, 0.972178, 0.154589)


@dataclass(frozen=True, eq=False)
class Truth:
    """What only a simulation knows.

    instances: (H, W) uint16, every nucleus of every kind, labels 1 … n, 0 = background.
    kinds: n words, the kind of label 1, 2, …: a CellType or a look-alike ("endothelial", "parietal", "tubular",
    "distal", "interstitial"). glomerulus: (H, W) bool, inside Bowman's capsule.
    displacement: (H, W, 2) float32, rows then columns in pixels: the IF at x shows the tissue at x + displacement[x].
    """

    instances: np.ndarray
    kinds: tuple[str, ...]
    glomerulus: np.ndarray
    displacement: np.ndarray

    def of(self, kind: str) -> np.ndarray:
        """(H, W) uint16: the instances of one kind; labels keep their values."""
        wanted = np.array([False, *(each == kind for each in self.kinds)])
        return np.where(wanted[self.instances], self.instances, 0).astype(np.uint16)


@dataclass(frozen=True, eq=False)
class Patch:
    """A PAS patch with its molecular image.

    pas: (H, W, 3) uint8 RGB. molecular: (H, W, C) uint8 or float32, channels as named in `markers`, or None where
    the IF image is absent. masks: annotator → cell type → (H, W) bool. thresholds: marker → grey level above which
    a nucleus counts as positive on this slide (paper §4.1: one per marker and slide, from a pathologist).
    cell_type: the pool that the patch belongs to. spacing: µm per pixel.
    """

    name: str
    slide: str
    cell_type: CellType
    pas: np.ndarray
    molecular: np.ndarray | None
    injured: bool
    simulated: bool
    markers: tuple[Marker, ...] = MARKERS
    masks: Mapping[str, Mapping[CellType, np.ndarray]] = field(default_factory=dict)
    thresholds: Mapping[Marker, float] = field(default_factory=dict)
    spacing: float = SPACING
    split: Split = "train"
    truth: Truth | None = None

    def __post_init__(self) -> None:
        shape = self.pas.shape
        if self.pas.dtype != np.uint8 or self.pas.ndim != 3 or shape[2] != 3:
            raise DataError(f"{self.name}: PAS image is {self.pas.dtype} {shape}, expected uint8 (H, W, 3)")
        if self.molecular is not None and (
            self.molecular.dtype not in (np.uint8, np.float32)
            or self.molecular.shape != (*shape[:2], len(self.markers))
        ):
            raise DataError(
                f"{self.name}: IF image is {self.molecular.dtype} {self.molecular.shape}, expected uint8 or float32 "
                f"{(*shape[:2], len(self.markers))} with channels {', '.join(self.markers)}"
            )
        for annotator, drawn in self.masks.items():
            for cell_type, mask in drawn.items():
                if mask.dtype != bool or mask.shape != shape[:2]:
                    raise DataError(
                        f"{self.name}: {annotator}'s {cell_type} mask is {mask.dtype} {mask.shape}, "
                        f"expected bool {shape[:2]}"
                    )

    def channel(self, marker: Marker) -> np.ndarray:
        """(H, W) of one marker. DataError when the patch has none."""
        if self.molecular is None or marker not in self.markers:
            found = "no IF image" if self.molecular is None else f"channels {', '.join(self.markers)}"
            raise DataError(
                f"{self.name}: found {found}, expected {marker}; put the registered IF image in the folder, "
                "see `study.molecular.inhouse`"
            )
        return self.molecular[..., self.markers.index(marker)]

    def case(self, annotator: str, cell_type: CellType | None = None) -> Case:
        """The patch as the study's Case, with one annotator's mask of one cell type as its truth.

        Instances are the mask's 8-connected components, as in the released script (touching nuclei merge), except for
        the annotator "truth" of a simulated patch, whose instances are exact. DataError for a mask that is not there.
        """
        wanted = cell_type or self.cell_type
        if annotator == "truth" and self.truth is not None:
            instances = self.truth.of(wanted)
        elif wanted in self.masks.get(annotator, {}):
            instances = components(self.masks[annotator][wanted], connectivity=2).astype(np.uint16)
        else:
            raise DataError(f"{self.name}: no {wanted} mask by {annotator}, found {', '.join(self.masks) or 'none'}")
        return Case(
            name=self.name, image=self.pas, instances=instances, spacing=self.spacing,
            source="simulated" if self.simulated else "inhouse", patient=self.slide, organ="kidney", split=self.split,
        )  # fmt: skip
