"""Damages that a right file is given: bytes, words of a text, values and keys of JSON. Seeded, for `fuzz.py`."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

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
        elif suffix in (".xml", ".csv", ".yaml", ".json", ".geojson") and rng.random() < 0.7:
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
