"""The committed JavaScript is made of the committed source, with the licences of what is inside."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import study.annotator
from study.annotator import static

HOME = Path(study.annotator.__file__).parent
SOURCE, BUNDLE = HOME / "source", HOME / "bundle"


def test_the_bundle_was_built_of_this_source() -> None:
    digest = hashlib.sha256()
    files = sorted((SOURCE / "src").iterdir(), key=lambda path: path.name)
    for path in (SOURCE / "package.json", SOURCE / "package-lock.json", *files):
        digest.update(path.read_bytes())
    first = (BUNDLE / "annotator.js").read_text(encoding="utf-8").partition("\n")[0]
    assert digest.hexdigest() in first, "the source changed: run `npm ci && npm run build` in study/annotator/source"


def test_every_bundled_package_has_its_licence() -> None:
    text = (BUNDLE / "LICENSES.txt").read_text(encoding="utf-8")
    blocks = [block.strip() for block in text.split("-" * 80 + "\n")]
    blocks = [block for block in blocks if block]
    stated = {block.partition("\n")[0].rpartition(" ")[0] for block in blocks}
    wanted = json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert {*wanted, "@annotorious/annotorious", "@annotorious/core", "pixi.js", "svelte"} <= stated
    assert all(len(block) > 500 and "copyright" in block.casefold() for block in blocks)


def test_static_view_and_browser_share_their_colours() -> None:
    line = re.search(r"COLOURS = \[(.*)\]", (SOURCE / "src" / "shape.ts").read_text(encoding="utf-8"))
    assert line is not None
    assert tuple(re.findall(r'"(#\w+)"', line.group(1))) == static.COLOURS
