"""Small, right files of every kind that is read, for `fuzz.py` to damage: name → content."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from imagecodecs import png_encode
from PIL import Image
from roifile import ROI_TYPE, ImagejRoi
from safetensors.torch import save
from torch import nn

from allinsam_core.model import Description
from study.config import RunConfig
from study.molecular import inhouse
from study.molecular.patch import CELL_TYPES, Patch
from study.rivals.otsu import OtsuSettings
from study.run import execute

SHAPE = (24, 32)
Files = dict[str, bytes]


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def _labels() -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.where((rows % 8 < 5) & (columns % 8 < 5), 1 + rows // 8 * 4 + columns // 8, 0).astype(np.uint16)


def _tiff(values: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def _picture(values: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form, **options)
    return buffer.getvalue()


@cache
def images() -> Files:
    """RGB images in every form that is read."""
    rgb, grey = _pixels(), _pixels()[..., 0]
    exif = Image.Exif()
    exif[274] = 6
    indexed = io.BytesIO()
    Image.fromarray(rgb).quantize(16).save(indexed, "PNG", transparency=3)
    colours = np.random.default_rng(0).integers(0, 65536, (3, 256), dtype=np.uint16)
    described = "Aperio Image Library\r\n64x48 [0,0 64x48] (16x16) -> 32x24 JPEG|AppMag = 40|MPP = 0.25"
    return {
        "plain.tif": _tiff(rgb, resolution=(40_000, 40_000), resolutionunit=3),
        "tiled.tif": _tiff(rgb, tile=(16, 16), compression="zlib", predictor=True),
        "lzw.tif": _tiff(rgb, compression="lzw", rowsperstrip=5),
        "jpeg.tif": _tiff(rgb, compression="jpeg", tile=(16, 16)),
        "big.tif": _tiff(rgb, bigtiff=True, byteorder=">"),
        "planar.tif": _tiff(np.moveaxis(rgb, 2, 0), photometric="rgb", planarconfig="separate"),
        "palette.tif": _tiff(grey, photometric="palette", colormap=colours),
        "white.tif": _tiff(grey, photometric="miniswhite"),
        "bits.tif": _tiff(grey > 99, photometric="minisblack"),
        "deep.tif": _tiff(rgb.astype(np.uint16) * np.uint16(257), photometric="rgb"),
        "aperio.svs": _tiff(rgb, description=described, metadata=None),
        "imagej.tif": _tiff(rgb, imagej=True, resolution=(4, 4), metadata={"unit": "micron"}),
        "size.ome.tif": _tiff(rgb, ome=True, metadata={"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}),
        "a.png": _picture(rgb, "PNG", exif=exif),
        "deep.png": png_encode(rgb.astype(np.uint16) * np.uint16(257)),
        "indexed.png": indexed.getvalue(),
        "a.jpg": _picture(rgb, "JPEG", exif=exif),
        "a.bmp": _picture(rgb, "BMP"),
        "a.gif": _picture(grey, "GIF"),
        "a.webp": _picture(rgb, "WEBP"),
        "a.jp2": _picture(rgb, "JPEG2000"),
        "a.ppm": _picture(rgb, "PPM"),
    }


@cache
def label_maps() -> Files:
    """Label maps, a mask and probabilities."""
    labels = _labels()
    npy = io.BytesIO()
    np.save(npy, labels)
    grey = Image.fromarray(labels.astype(np.uint8))
    grey.putpalette([255 - v // 3 for v in range(768)])
    inverted = io.BytesIO()
    grey.save(inverted, "PNG")
    return {
        "a.png": _picture(labels, "PNG"),
        "mask.png": _picture((labels > 0) * np.uint8(255), "PNG"),
        "inverted.png": inverted.getvalue(),
        "a.tif": _tiff(labels, compression="zlib"),
        "wide.tif": _tiff(labels.astype(np.int32)),
        "prob.tif": _tiff(labels.astype(np.float32) / 20),
        "a.npy": npy.getvalue(),
    }


@cache
def aperio_xml() -> Files:
    """A region with a hole, an ellipse, a ruler and an outline around all."""

    def region(attributes: str, *points: tuple[int, int]) -> str:
        vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
        return f"<Region {attributes}><Vertices>{vertices}</Vertices></Region>"

    regions = (
        region('Id="1" Type="0" NegativeROA="0"', (2, 2), (9, 2), (9, 9), (2, 9)),
        region('Id="2" NegativeROA="1"', (4, 4), (6, 4), (6, 6)),
        region('Id="3" Type="2"', (12, 2), (20, 9)),
        region('Id="4" Type="4"', (1, 1), (5, 5)),
        region('Id="5"', (1, 1), (32, 1), (32, 24), (1, 24)),
    )
    inner = f'<Annotation Id="1"><Regions>{"".join(regions)}</Regions></Annotation>'
    return {"a.xml": f'<Annotations MicronsPerPixel="0.25">{inner}</Annotations>'.encode()}


def _square(x: float, y: float, side: float = 5) -> dict[str, Any]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


@cache
def boxes() -> Files:
    """GeoJSON with children and a collection, COCO, CSV, ROIs and an archive of them."""
    child = {"type": "Feature", "geometry": _square(2, 2), "properties": {"objectType": "cell"}}
    parent = {"objectType": "annotation", "name": "region", "childObjects": [child]}
    collection = {"type": "GeometryCollection", "geometries": [_square(9, 9), _square(20, 9)]}
    features = [
        {"type": "Feature", "id": "a", "geometry": _square(0, 0, 22), "properties": parent},
        {"type": "Feature", "geometry": collection, "properties": {"classification": {"name": "Tumor"}}},
        {"type": "Feature", "geometry": _square(20, 2), "nucleusGeometry": _square(21, 3, 2), "properties": {}},
    ]
    coco = {
        "images": [{"id": 7, "file_name": "image.tif", "width": SHAPE[1], "height": SHAPE[0]}],
        "annotations": [
            {"id": 1, "image_id": "7", "category_id": 1, "bbox": [2, 2, 5, 5]},
            {"id": 2, "image_id": 7, "segmentation": [[9, 9, 14, 9, 14, 14]]},
        ],
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    rect = ImagejRoi(roitype=ROI_TYPE.RECT, left=2, top=3, right=8, bottom=9).tobytes()
    free = ImagejRoi.frompoints(np.array([[1.5, 2], [9, 2.5], [5, 7.75]]), name="free").tobytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in (("a.roi", rect), ("Thumbs.db", b"junk"), ("b.roi", free)):
            file.writestr(name, data)
    return {
        "q.geojson": json.dumps({"type": "FeatureCollection", "features": features}).encode(),
        "c.json": json.dumps(coco).encode(),
        "b.csv": b"x0,y0,x1,y1,Class,name\n2,2,9,9,tumour,n1\n10,2.5,19,9,,\n,,,,,\n",
        "rect.roi": rect,
        "free.roi": free,
        "set.zip": archive.getvalue(),
    }


@cache
def weights() -> Files:
    """The state of a Linear(2, 3), as torch writes it now and wrote it earlier, and as safetensors."""
    torch.manual_seed(0)
    state = nn.Linear(2, 3).state_dict()
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(state, new)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    return {"new.pth": new.getvalue(), "old.pth": old.getvalue(), "a.safetensors": save(state)}


@cache
def caches() -> Files:
    """A cache of weak labels, and one of the masks that SAM gave boxes."""
    weak, masks = io.BytesIO(), io.BytesIO()
    np.savez_compressed(weak, instances=_labels(), provenance=np.array("box,kept\n1,20\n"))
    parts: dict[str, Any] = {"0": _labels() > 0, "1": _labels() > 5}
    np.savez_compressed(masks, **parts, place=[(0, 0), (3, 4)], score=[0.5, 0.9])
    return {"weak.npz": weak.getvalue(), "masks.npz": masks.getvalue()}


@cache
def archives() -> Files:
    """A zip, and tars in every compression."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Top/a.txt", b"text" * 50)
        file.writestr("Top/b.txt", b"more")
    files = {"a.zip": zipped.getvalue()}
    for form in ("", "gz", "bz2", "xz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=f"w:{form}") as tar:  # type: ignore[call-overload]
            info = tarfile.TarInfo("Top/a.txt")
            info.size = 200
            tar.addfile(info, io.BytesIO(b"text" * 50))
        files[f"a.tar.{form}".rstrip(".")] = buffer.getvalue()
    return files


@cache
def inhouse_folder() -> Files:
    """An in-house folder of two slides, by relative path."""
    made = [
        Patch(
            name=f"S{number}_{cell_type}",
            slide=f"S{number}",
            cell_type=cell_type,
            injured=number == 0,
            simulated=False,
            pas=_pixels(),
            molecular=_pixels(),
            masks={"expert": {cell_type: _labels() > 0}},
        )
        for number in range(2)
        for cell_type in CELL_TYPES
    ]
    with tempfile.TemporaryDirectory() as folder:
        inhouse.write(Path(folder), made)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@cache
def points() -> Files:
    """Points in a table, in GeoJSON and in an ROI."""
    geometry = {"type": "MultiPoint", "coordinates": [[3, 4], [9.5, 20]]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": "a"}}}
    roi = ImagejRoi.frompoints(np.array([[1.5, 2], [9, 2.5]]))
    roi.roitype = ROI_TYPE.POINT
    return {
        "p.csv": b"x,y,class\n3,4,a\n9.5,20,b\n",
        "p.geojson": json.dumps([feature]).encode(),
        "p.roi": roi.tobytes(),
    }


@cache
def tables() -> Files:
    """Who belongs to which patient and split; and the classes of a label image."""
    return {
        "split.csv": b"image,patient,split\na,P1,train\nb,P2,val\nc,,\n",
        "classes.csv": b"label,class\n1,a\n2,b\n",
    }


@cache
def settings() -> Files:
    """A profile and a manifest, in YAML."""
    root = Path(__file__).resolve().parents[1]
    profile = (root / "study/profiles/smoke.yaml").read_bytes().replace(b"name: smoke", b"name: own")
    known = yaml.safe_load((root / "data_manifest.yaml").read_bytes())
    artefacts = {name: entry for name, entry in known["artefacts"].items() if entry.get("dataset") in (None, "monuseg")}
    monuseg = known["datasets"]["monuseg"]
    monuseg["cases"] = dict(list(monuseg["cases"].items())[:3])
    manifest = yaml.safe_dump({"version": 1, "artefacts": artefacts, "datasets": {"monuseg": monuseg}})
    return {"profile.yaml": profile, "manifest.yaml": manifest.encode()}


@cache
def checkpoints() -> Files:
    """What a training leaves in the middle."""
    buffer = io.BytesIO()
    state = nn.Linear(2, 3).state_dict()
    history = {"losses": [(0, 1.0)], "validations": [], "best": -1}
    saved = {"model": state, "optimizer": {"state": {}, "param_groups": []}, "step": 3, "best": None}
    torch.save({**saved, "stopped": False, "history": history}, buffer)
    return {"last.ckpt": buffer.getvalue()}


@cache
def models() -> Files:
    """A trained model's file: what it says of itself, and tensors."""
    about = Description(base="mini", base_sha256="0" * 64).model_dump(mode="json")
    metadata = {"base": "0" * 64, "note": json.dumps(about)}
    return {"own.safetensors": save(nn.Linear(2, 3).state_dict(), metadata=metadata)}


@cache
def finished_run() -> Files:
    """The folder of a finished run."""
    sizes = {"train": 1, "val": 1, "test": 3, "size": 48}
    data = {"source": "simulated", "simulated": sizes}
    config = RunConfig(profile="smoke", method="otsu", fraction=0, model=OtsuSettings(), data=data)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(None):
        folder = execute(config, Path(place, "results"), Path(place, "work"), device="cpu")
        return {f"{folder.name}/{name}": (folder / name).read_bytes() for name in ("run.json", "rows.csv")}


@cache
def slides() -> Files:
    """A pyramid in plain TIFF and in OME-TIFF."""
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    files = {}
    for name, options in {"generic.tif": {}, "a.ome.tif": {"ome": True}}.items():
        buffer = io.BytesIO()
        shared: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32), "compression": "zlib"}
        with tifffile.TiffWriter(buffer, **options) as tiff:
            tiff.write(image, subifds=1 if options else 0, **shared)
            tiff.write(image[::2, ::2], subfiletype=1, **shared)
        files[name] = buffer.getvalue()
    return files
