"""Damaged and hostile files for every reader: each outcome is a value, or one sentence that names the file.

    python benchmarks/fuzz.py [--cases 100000] [--minutes 15] [--out results/reliability/fuzz.csv] [--keep FOLDER]

Right files (`fuzz_corpus`) are damaged by a seeded generator: bytes flipped, cut, repeated or overwritten with numbers
that programs trip over; in JSON also values and keys exchanged, in XML and CSV words. A reader may give a value, or a
ValueError or FileNotFoundError of one line with the file's name. The table has a row a reader: cases, values, refusals,
anything else (must be 0), the slowest case in seconds, the highest memory of the process in MB. --keep: where files
with another outcome are put. The test suite runs the same generator for a few cases of each reader.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import logging
import re
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
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allinsam_core.annotation import sam, weak
from allinsam_core.data import aperio
from allinsam_core.data.image import read_labels, read_rgb
from benchmarks import fuzz_corpus
from benchmarks.fuzz_corpus import SHAPE, Files
from study.molecular import inhouse
from study.tools import archive, kinds, maps
from study.tools.formats import read_boxes
from study.tools.spacing import from_tiff

COLUMNS = ("reader", "cases", "values", "refused", "other", "slowest_s", "peak_mb")
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
    "cache": Reader(lambda path: weak._recall(path, SHAPE), fuzz_corpus.caches),
}


def _only(files: Files, *suffixes: str) -> Files:
    return {name: data for name, data in files.items() if Path(name).suffix in suffixes}


# damage

WORDS = [
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"99999999999999999999",
    b"",
    b"null",
    b"\xff\xfe",
    b"\0",
    b'"',
    b"<",
    b"&lol;",
    b",",
    b"\n",
]
VALUES: list[Any] = [
    None, True, 0, -1, 0.5, 1e308, 10**400, "", "7", "a\0b", "\ud800", [], {}, [[]], [[[]]], [None] * 4, [1, 2, 3, 4],
    {"type": "Polygon"}, {"type": "GeometryCollection", "geometries": []}, "FeatureCollection", -(2**63), 1e-320,
]  # fmt: skip
NUMBERS = [0, 1, 2, 7, 8, 99, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def damaged(data: bytes, name: str, rng: np.random.Generator) -> bytes:
    """The content of a file with one to six damages."""
    suffix = Path(name).suffix
    for _ in range(int(rng.integers(1, 7)) if rng.random() < 0.5 else 1):
        if suffix in (".json", ".geojson") and rng.random() < 0.8:
            data = _other_json(data, rng)
        elif suffix in (".xml", ".csv", ".json", ".geojson") and rng.random() < 0.7:
            data = _other_words(data, rng)
        else:
            data = _other_bytes(data, rng)
    return data


def _other_json(data: bytes, rng: np.random.Generator) -> bytes:
    """A value or a key anywhere in the tree exchanged, removed, doubled or nested."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return _other_bytes(data, rng)
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            places += [(node, key) for key in keys]
            waiting += [node[key] for key in keys]
    if not places:
        return json.dumps(VALUES[rng.integers(len(VALUES))]).encode("utf-8", "surrogatepass")
    node, key = places[rng.integers(len(places))]
    what = rng.integers(5)
    if what == 0:
        del node[key]
    elif what == 1:
        other, at = places[rng.integers(len(places))]
        node[key] = copy.deepcopy(other[at])
    elif what == 2 and isinstance(node, list):
        node.extend(copy.deepcopy(node[:50]))
    elif what == 3:
        node[key] = [node[key]]
    else:
        node[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _other_words(data: bytes, rng: np.random.Generator) -> bytes:
    """A number or name of a text exchanged for a word that is none, or for another of the text."""
    words = list(re.finditer(rb"[\w.+-]+", data))
    if not words:
        return _other_bytes(data, rng)
    word = words[rng.integers(len(words))]
    new = WORDS[rng.integers(len(WORDS))] if rng.random() < 0.6 else words[rng.integers(len(words))].group()
    return data[: word.start()] + new + data[word.end() :]


def _other_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, bytes overwritten with a telling number, cut off, cut out, repeated or put in."""
    if not data:
        return rng.bytes(int(rng.integers(1, 64)))
    near = min(len(data), 400) if rng.random() < 0.5 else len(data)  # headers and tags, or anywhere
    at, more = int(rng.integers(near)), int(rng.integers(1, 33))
    what = rng.integers(6)
    if what == 0:
        return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
    if what == 1:
        size, order = int(rng.choice([1, 2, 4, 8])), "little" if rng.random() < 0.5 else "big"
        number = NUMBERS[rng.integers(len(NUMBERS))] % 256**size
        return data[:at] + number.to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]
    if what == 2:
        return data[:at]
    if what == 3:
        return data[:at] + data[at + more :]
    if what == 4:
        return data[: at + more] + data[at:]
    return data[:at] + rng.bytes(more) + data[at:]


# outcome


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


def main() -> int:
    """Run every reader in turn on its share of the cases, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=15, help="of processor time, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/reliability/fuzz.csv"))
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rows = []
    for number, (name, reader) in enumerate(READERS.items()):
        row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | {"reader": name}
        end = time.process_time() + given.minutes * 60 / len(READERS)
        with tempfile.TemporaryDirectory() as scratch:
            for case in range(given.cases // len(READERS)):
                begun = time.monotonic()
                if time.process_time() > end:
                    break
                seed = given.seed + number * 10**9 + case
                result, said, path = outcome(reader, seed, Path(scratch))
                row["cases"] += 1
                row[{"value": "values"}.get(result, result)] += 1
                row["slowest_s"] = max(row["slowest_s"], round(time.monotonic() - begun, 3))
                if result == "other":
                    print(f"{name} {seed}: {path.name}: {said[:300]}", flush=True)
                    if given.keep:
                        given.keep.mkdir(parents=True, exist_ok=True)
                        (given.keep / f"{seed}-{path.name}").write_bytes(path.read_bytes())
        row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        rows.append(row)
        print(row, flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return int(any(row["other"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
