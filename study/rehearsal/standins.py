"""What `paper` takes from elsewhere, made on the spot in the very form in which it is published, with random content.

Meta's checkpoints: their file names, keys and shapes, the old format of torch.save; ViT-L and ViT-H cut to the depth
that profile `rehearsal` declares. MoNuSeg: its two archives with ImageScope outlines, fewer images, simulated tissue.
BERT: its cache folder, one layer. The manifest: the study's, with the checksums of these files and these images alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from skimage.measure import find_contours

from allinsam_core.annotation import sam
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from study.datasets import manifest
from study.datasets.monuseg import CHECKSUMS
from study.rivals import lvit_text
from study.rivals.beside_cpu_torch import ensure_torchvision
from study.simulation import simulate

DEPTHS: dict[str, int | None] = {"vit_b": None, "vit_l": 1, "vit_h": 1}  # None: whole
IMAGES = {"train": 4, "val": 1, "test": 2}  # four: 0.5 % of fewer is no crop
SIDE = 1000  # px, as in MoNuSeg
NUCLEI = 60  # outlined per image at most: enough to learn from, and few boxes to answer
ARCHIVES = {
    "monuseg-train": (
        ("train", "val"),
        "MoNuSeg 2018 Training Data/Tissue Images",
        "MoNuSeg 2018 Training Data/Annotations",
    ),
    "monuseg-test": (("test",), "MoNuSegTestData", "MoNuSegTestData"),
}


def make(mirror: Path, home: Path, names: Iterable[str] = DEPTHS) -> Path:
    """Every stand-in below `mirror` (what a server would hold) and `home`; returns the manifest. Made once.

    names: of SAMs. home: BERT's cache goes to home/huggingface, as HF_HOME.
    """
    mirror.mkdir(parents=True, exist_ok=True)
    published = manifest.read(manifest.path()).model_dump(mode="json")
    cases = {split: published_names(published, split)[:count] for split, count in IMAGES.items()}
    for name in names:
        entry = published["artefacts"][f"sam-{name.replace('_', '-')}"]
        checkpoint(name, DEPTHS[name], mirror / entry["file"])
    for artefact, (splits, images, outlines) in ARCHIVES.items():
        wanted = [(split, name) for split in splits for name in cases[split]]
        monuseg(mirror / published["artefacts"][artefact]["file"], wanted, images, outlines)
    pixel_checksums([mirror / published["artefacts"][artefact]["file"] for artefact in ARCHIVES], home / CHECKSUMS)
    bert(home / "huggingface")
    return own_manifest(published, mirror, cases, home / manifest.FILE)


def published_names(published: dict[str, Any], split: str) -> list[str]:
    """MoNuSeg's names of a split, in the manifest's order."""
    return [name for name, case in published["datasets"]["monuseg"]["cases"].items() if case["split"] == split]


def checkpoint(name: str, depth: int | None, path: Path) -> None:
    """Random weights under Meta's names and shapes, in the format that torch.save wrote before version 1.6."""
    if path.is_file():
        return
    torch.manual_seed(0)
    state = sam.initialised(sam.build(name, depth=depth)).state_dict()
    with replacing(path) as unfinished:
        torch.save(state, unfinished, _use_new_zipfile_serialization=False)


def monuseg(path: Path, wanted: list[tuple[str, str]], images: str, outlines: str) -> None:
    """An archive as MoNuSeg's: one TIFF and one ImageScope file per image, of simulated tissue."""
    if path.is_file():
        return
    with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        for _, name in wanted:
            case = simulate.tile(int(hashlib.sha256(name.encode()).hexdigest()[:6], 16), SIDE)
            content = path.with_name(f"{name}.tif")
            tifffile.imwrite(content, case.image, compression="zlib")
            archive.write(content, f"{images}/{name}.tif")
            content.unlink()
            archive.writestr(f"{outlines}/{name}.xml", imagescope(case))


def pixel_checksums(archives: Iterable[Path], path: Path) -> None:
    """Say beside the manifest that these are the official pixels."""
    lines = ["case,sha256_of_rgb_bytes"]
    for archive in map(zipfile.ZipFile, archives):
        for file in (each for each in archive.namelist() if each.endswith(".tif")):
            digest = hashlib.sha256(tifffile.imread(io.BytesIO(archive.read(file))).tobytes()).hexdigest()
            lines.append(f"{Path(file).stem},{digest}")
    with replacing(path) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")


def imagescope(case: Case) -> str:
    """The outlines of up to NUCLEI nuclei of a case, as Aperio ImageScope writes them."""
    regions: list[str] = []
    for label in np.unique(case.instances)[1 : NUCLEI + 1]:
        rings = find_contours(np.pad(case.instances == label, 1), 0.5)
        ring = max(rings, key=len) - 1
        vertices = "".join(f'<Vertex X="{x:.1f}" Y="{y:.1f}" Z="0"/>' for y, x in ring[:-1])
        regions.append(f'<Region Id="{len(regions) + 1}"><Vertices>{vertices}</Vertices></Region>')
    return (
        f'<Annotations MicronsPerPixel="{case.spacing}"><Annotation Id="1"><Regions>'
        f"<RegionAttributeHeaders/>{''.join(regions)}</Regions></Annotation></Annotations>"
    )


def bert(cache: Path) -> None:
    """An untrained BERT of one layer where Hugging Face's cache has the pinned one."""
    ensure_torchvision()
    import transformers

    place = cache / "hub" / f"models--{lvit_text.BERT.replace('/', '--')}"
    snapshot = place / "snapshots" / lvit_text.REVISION
    if snapshot.is_dir():
        return
    made = place / "unfinished"
    shutil.rmtree(made, ignore_errors=True)
    words = {word for row in lvit_text.ROWS for column in lvit_text.COLUMNS for word in f"{row} {column}".split()}
    sentences = f"{lvit_text.EVEN} {lvit_text.NONE} denser part of central".split()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words | set(sentences))]
    transformers.BertTokenizer(vocab={piece: number for number, piece in enumerate(vocabulary)}).save_pretrained(made)
    size: dict[str, Any] = {"hidden_size": lvit_text.EMBEDDING, "num_hidden_layers": 1, "intermediate_size": 8}
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(vocab_size=len(vocabulary), **size)).save_pretrained(made)
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, snapshot)


def own_manifest(published: dict[str, Any], mirror: Path, cases: dict[str, list[str]], path: Path) -> Path:
    """The study's manifest with the checksums and sizes of what the mirror holds, and with these images alone."""
    for entry in published["artefacts"].values():
        file = mirror / entry["file"]
        if file.is_file():
            with file.open("rb") as handle:
                entry["sha256"] = hashlib.file_digest(handle, "sha256").hexdigest()
            entry["bytes"] = file.stat().st_size
    data = published["datasets"]["monuseg"]
    kept = {name for names in cases.values() for name in names}
    data["cases"] = {name: case for name, case in data["cases"].items() if name in kept}
    training, test = len(cases["train"]) + len(cases["val"]), len(cases["test"])
    data["counts"] = {"train_images": training, "test_images": test, "train_nuclei": 0, "test_regions": NUCLEI * test}
    with replacing(path) as unfinished:
        unfinished.write_text(yaml.safe_dump(published, sort_keys=False), encoding="utf-8")
    return path
