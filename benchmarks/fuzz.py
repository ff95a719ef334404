"""Damaged and hostile files for every reader: each outcome is a value, or one sentence that names the file.

    python benchmarks/fuzz.py [--cases 100000] [--minutes 2] [--out results/reliability/fuzz.csv] [--keep FOLDER]

Right files (`fuzz_corpus`) are damaged by a seeded generator: bytes flipped, cut, repeated or overwritten with numbers
that programs trip over; in JSON also values and keys exchanged, in XML and CSV words. A reader may give a value, or a
ValueError or FileNotFoundError of one line with the file's name. The table has a row a reader: cases, values, refusals,
anything else (must be 0), the slowest case in seconds of the processor, the highest memory of the process in MB.

Killed, the same call goes on with the readers that the table lacks; to do one again, delete its line. --minutes: of
processor time for a reader, at most. --keep: where files with another outcome are put. The test suite runs a few cases.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allinsam_core import model
from allinsam_core.annotation import sam
from allinsam_core.atomic import replacing
from allinsam_core.learning import checkpoint, train
from benchmarks import fuzz_corpus
from benchmarks.damage import damaged
from benchmarks.fuzz_corpus import SHAPE, Files
from study import finished, grid, weak
from study.datasets import aperio, manifest
from study.datasets.image import read_labels, read_rgb
from study.molecular import inhouse
from study.tools import archive, folder, kinds, maps, split
from study.tools.formats import read_boxes
from study.tools.formats.points import read_points
from study.tools.slide import open_slide
from study.tools.spacing import from_tiff

COLUMNS = ("reader", "first_seed", "cases", "values", "refused", "other", "slowest_s", "peak_mb")
MEMORY = 6 * 2**30  # bytes of address space: more is a fault


@dataclass(frozen=True)
class Reader:
    """read: what is called with a path. corpus: right files. folder: these are one folder, damaged in one file."""

    read: Callable[[Path], Any]
    corpus: Callable[[], Files]
    folder: bool = False


def _read_map(path: Path) -> object:
    values = maps.read(path)
    kind = kinds.common({path: kinds.recognise(values, path)}, "--kind")
    return maps.as_probability(values, path) if kind == "probability" else maps.as_instances(values, kind, path)


def _read_weights(path: Path) -> None:
    sam.load_strictly(nn.Linear(2, 3), sam.read_weights(path), path, "linear")


def _check_folder(folder: Path) -> None:
    strange = [p for p in inhouse.check(folder) if "\n" in p or not p.startswith(str(folder))]
    assert not strange, strange


def _unpack(path: Path) -> object:
    said = archive.trouble(path, limit=2**24)
    if said is not None:
        raise ValueError(said)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        archive.unpack(path, Path(folder) / "out", limit=2**24)
    return None


def _read_table(path: Path) -> object:
    return split.read_table(path, ["a", "b", "c"]) if path.stem == "split" else folder._class_table(path)


def _read_settings(path: Path) -> object:
    if path.stem == "manifest":
        return manifest.read(path)
    try:
        return grid.profile(path).grid()
    except (ValueError, FileNotFoundError) as error:  # of one run, by name: it may be of any file
        raise ValueError(f"{path}: {error}") from error


def _read_model(path: Path) -> object:
    about = model.describe(path)
    return checkpoint.load(nn.Linear(2, 3), path, about.base_sha256)


def _read_run(folder: Path) -> None:
    """A damaged run must be refused, unless the damage changed nothing that is read."""
    (record,) = [name for name in fuzz_corpus.finished_run() if name.endswith("run.json")]
    found = finished.read((folder / record).parent)
    assert found.record == json.loads(fuzz_corpus.finished_run()[record]), "a changed record was accepted"


def _read_slide(path: Path) -> None:
    slide = open_slide(path)
    for number, level in enumerate(slide.levels[:4]):
        height, width = level.shape
        slide.read(number, 0, 0, min(height, 256), min(width, 256))


def _read_cache(path: Path) -> None:
    _set_aside(weak._recall, path, SHAPE) if path.stem == "weak" else _set_aside(folder._recall, path, 2)


def _set_aside(recall: Callable[..., Any], path: Path, *given: Any) -> None:
    """Caches and checkpoints: what is damaged is set aside with a warning, and made anew."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = recall(path, *given)
    if found is None:
        raise ValueError(str(said[-1].message))


READERS: dict[str, Reader] = {
    "image": Reader(read_rgb, fuzz_corpus.images),
    "pixel size": Reader(from_tiff, fuzz_corpus.images),
    "label image": Reader(
        lambda path: read_labels(path, SHAPE), lambda: _only(fuzz_corpus.label_maps(), ".png", ".tif")
    ),
    "map to score": Reader(_read_map, fuzz_corpus.label_maps),
    "Aperio XML": Reader(lambda path: aperio.rasterise(aperio.read(path), SHAPE), fuzz_corpus.aperio_xml),
    **{
        name: Reader(
            lambda path: read_boxes(path, SHAPE, "image.tif"), lambda ends=ends: _only(fuzz_corpus.boxes(), *ends)
        )  # type: ignore[misc]
        for name, ends in {
            "GeoJSON": (".geojson",),
            "COCO": (".json",),
            "CSV": (".csv",),
            "ImageJ ROI": (".roi",),
            "ROI archive": (".zip",),
        }.items()
    },
    "in-house folder": Reader(_check_folder, fuzz_corpus.inhouse_folder, folder=True),
    "archive": Reader(_unpack, fuzz_corpus.archives),
    "weights": Reader(_read_weights, fuzz_corpus.weights),
    "points": Reader(lambda path: read_points(path, SHAPE, 3), fuzz_corpus.points),
    "table": Reader(_read_table, fuzz_corpus.tables),
    "YAML": Reader(_read_settings, fuzz_corpus.settings),
    "cache": Reader(_read_cache, fuzz_corpus.caches),
    "training checkpoint": Reader(lambda path: _set_aside(train._recall, path), fuzz_corpus.checkpoints),
    "model file": Reader(_read_model, fuzz_corpus.models),
    "run record": Reader(_read_run, fuzz_corpus.finished_run, folder=True),
    "slide": Reader(_read_slide, fuzz_corpus.slides),
}


def _only(files: Files, *suffixes: str) -> Files:
    return {name: data for name, data in files.items() if Path(name).suffix in suffixes}


def outcome(reader: Reader, seed: int, folder: Path) -> tuple[str, str, Path]:
    """ "value", "refused" or "other"; what was said; and the damaged file, left in `folder`."""
    rng = np.random.default_rng(seed)
    corpus = reader.corpus()
    name = list(corpus)[int(rng.integers(len(corpus)))]
    bad = damaged(corpus[name], name, rng)
    if reader.folder:
        for other, data in corpus.items():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_bytes(data)
    path = folder / name
    path.write_bytes(bad)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder if reader.folder else path)
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        fair = "\n" not in said and path.name in said
        return "refused" if fair else "other", f"{type(error).__name__}: {said}", path
    except Exception as error:
        return "other", f"{type(error).__name__}: {error}", path
    return "value", "", path


def run(reader: str, cases: int, first: int, minutes: float, keep: Path | None = None) -> dict[str, Any]:
    """One line of the table: `cases` cases of a reader, or as many as `minutes` of processor time allow."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | {"reader": reader, "first_seed": first}
    end = time.process_time() + minutes * 60
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(first, first + cases):
            if time.process_time() > end:
                break
            begun = time.process_time()
            result, said, path = outcome(READERS[reader], seed, Path(scratch))
            row["cases"] += 1
            row[{"value": "values"}.get(result, result)] += 1
            row["slowest_s"] = max(row["slowest_s"], round(time.process_time() - begun, 3))
            if result == "other":
                print(f"{reader} {seed}: {path.name}: {said[:300]}", flush=True)
                if keep and path.is_file():  # not set aside
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed}-{path.name}").write_bytes(path.read_bytes())
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return row


def main() -> int:
    """Run every reader that the table does not hold, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=100_000, help="of all readers together")
    parser.add_argument("--minutes", type=float, default=2, help="of processor time for a reader, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/reliability/fuzz.csv"))
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rows = pd.read_csv(given.out).to_dict("records") if given.out.is_file() else []
    for number, reader in enumerate(READERS):
        if reader in [row["reader"] for row in rows]:
            continue
        cases = -(-given.cases // len(READERS))
        rows.append(run(reader, cases, given.seed + number * 10**9, given.minutes, given.keep))
        print(rows[-1], flush=True)
        with replacing(given.out) as unfinished:
            pd.DataFrame(rows, columns=COLUMNS).to_csv(unfinished, index=False)
    return int(any(row["other"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
