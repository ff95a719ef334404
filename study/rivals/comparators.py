"""Ready-made nuclei segmenters that the paper cites, run as they come, into label maps for `allinsam score`.

Cellpose (Stringer et al., Nature Methods 2021) and StarDist (Schmidt et al., MICCAI 2018), each through its own package
and weights, which are not part of this project. CellViT has its own programs; the book's page on comparators says how
its output is scored.

    python -m study.rivals.comparators cellpose OUT

Their weights were trained on other data, which may hold MoNuSeg's images: not a row of the tables, a yardstick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tifffile
import typer
from tqdm import tqdm

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError

Segment = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 RGB → (H, W) integers, 0 = background."""


def cellpose() -> Segment:
    """Cellpose with the weights that its `CellposeModel` loads unless told otherwise (version 4: Cellpose-SAM)."""
    model = _module("cellpose.models").CellposeModel(gpu=False)
    return lambda image: np.asarray(model.eval(image)[0])


def stardist() -> Segment:
    """StarDist with its authors' weights for H&E (trained on MoNuSeg's training set and TNBC, says their README)."""
    model = _module("stardist.models").StarDist2D.from_pretrained("2D_versatile_he")
    normalize = _module("csbdeep.utils").normalize
    return lambda image: np.asarray(model.predict_instances(normalize(image))[0])


COMPARATORS: dict[str, Callable[[], Segment]] = {"cellpose": cellpose, "stardist": stardist}


def write_maps(cases: Sequence[Case], segment: Segment | None, out: Path) -> None:
    """Label maps as 16-bit TIFF: the truth in `out`/truth, what `segment` finds, if given, in `out`/prediction."""
    for case in tqdm(cases, desc="label maps", disable=None):
        _write(case.instances, out / "truth" / f"{case.name}.tif")
        if segment is not None:
            labels = segment(case.image)
            if labels.shape != case.instances.shape:
                raise ValueError(f"{case.name}: label map is {labels.shape}, expected {case.instances.shape}")
            _write(labels, out / "prediction" / f"{case.name}.tif")


def _write(labels: np.ndarray, path: Path) -> None:
    if labels.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError(f"{path}: {labels.max()} labels, expected at most 65535; number them from 1 without gaps")
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, labels.astype(np.uint16), compression="zlib")


def _module(name: str) -> Any:
    """A module of a comparator's package. Raises MissingComparator, saying what to install."""
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingComparator(
            f"{package}: cannot be imported ({error}); this project does not install it. `pip install {package}` in an "
            "environment of its own, beside this project, or score a folder of label maps with `allinsam score`"
        ) from error


class MissingComparator(ImportError):
    """The comparator's package is not installed."""


def command(
    name: Annotated[str, typer.Argument(help="cellpose or stardist; truth: the truth's label maps alone.")],
    out: Annotated[Path, typer.Argument(help="Folder for truth/ and prediction/.")],
) -> None:
    """Run a comparator on MoNuSeg's test images and write label maps for `allinsam score OUT/prediction OUT/truth`."""
    from study.datasets import monuseg
    from study.root import data_root

    if name not in (*COMPARATORS, "truth"):
        raise typer.BadParameter(f"{name!r}: expected one of {', '.join(COMPARATORS)}, truth")
    try:
        segment = COMPARATORS[name]() if name in COMPARATORS else None
        write_maps(monuseg.load(data_root(), "test"), segment, out)
    except (MissingComparator, DataError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"written; allinsam score {out / 'prediction'} {out / 'truth'}")


if __name__ == "__main__":
    typer.run(command)
