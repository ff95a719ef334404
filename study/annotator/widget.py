"""The annotator as a Jupyter widget: the browser owns what is drawn, Python saves it and answers with masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import imageio.v3 as imageio
import numpy as np
import traitlets

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.predict import BoxAnnotator, default_field
from study.annotator import static
from study.annotator.session import Session, svg_path
from study.datasets.image import read_rgb
from study.names import readable
from study.tools.formats.writers import write_boxes
from study.tools.spacing import pixel_size

_BUNDLE = Path(__file__).parent / "bundle"
LARGEST = 8192  # px a side; what a browser shows in one piece


class Annotator(anywidget.AnyWidget):
    """Boxes and outlines on one image or two in register, saved at every change.

    image: what SAM sees, and what is annotated. beside: a second picture of the same size, for instance fluorescence.
    classes: names for the keys 1 to 9. out: GeoJSON file; by default beside the image, by its name, as `allinsam
    train` expects it. sam: a `Sam`; None: mini-SAM. spacing: µm per pixel, where the file does not say.
    Raises ValueError or OSError that says what to do.
    """

    _esm = _BUNDLE / "annotator.js"
    _css = _BUNDLE / "annotator.css"

    pictures = traitlets.List(traitlets.Dict()).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    shapes = traitlets.List(traitlets.Dict()).tag(sync=True)
    """What Python puts there: at opening and after `read`."""
    edit = traitlets.Dict().tag(sync=True)
    """What the browser made of it: revision, shapes, and what the last change was and took."""
    masks = traitlets.Dict().tag(sync=True)
    """SVG paths by id."""
    saved = traitlets.Int(0).tag(sync=True)
    """The last revision that is on disk."""
    trouble = traitlets.Unicode("").tag(sync=True)
    key = traitlets.Unicode("").tag(sync=True)
    """Under which the browser keeps what is not yet saved."""

    def __init__(
        self,
        image: Path | str,
        beside: Path | str | None = None,
        classes: Sequence[str] = ("",),
        out: Path | str | None = None,
        sam: sams.Sam | None = None,
        spacing: float | None = None,
    ) -> None:
        path = Path(image)
        seen = [(readable(path.name), read_rgb(path))]
        if beside is not None:
            seen.append((readable(Path(beside).name), read_rgb(Path(beside))))
        if len({pixels.shape for _, pixels in seen}) > 1:
            sizes = " and ".join(f"{name}: {pixels.shape[:2]}" for name, pixels in seen)
            raise ValueError(f"{sizes} px (H, W); expected two pictures in register, of one size")
        if max(seen[0][1].shape) > LARGEST:
            raise ValueError(f"{path}: {seen[0][1].shape[:2]} px, expected at most {LARGEST}; annotate parts of it")
        sam = sams.load_mini() if sam is None else sam
        annotator = BoxAnnotator(sam, default_field(sam, pixel_size(path, spacing)))
        target = Path(out) if out is not None else path.with_suffix(".geojson")
        self.session = Session(target, seen[0][1], annotator, classes)
        super().__init__(key=readable(f"allinsam:{target.resolve()}"))
        self.pictures = [picture(name, pixels) for name, pixels in seen]
        self._publish()
        self.observe(self._changed, "edit")

    def read(self, path: Path | str) -> None:
        """Add the boxes and outlines of a file: ImageJ's .roi or .zip, QuPath's .geojson, COCO's .json, .csv."""
        self.session.read(path, self.pictures[0]["name"])
        self._publish()

    def write(self, path: Path | str) -> None:
        """Write what is annotated, in the format that the file's suffix names."""
        write_boxes(path, self.session.boxes(), self.session.size, self.pictures[0]["name"])

    def instances(self) -> np.ndarray:
        """(H, W) int32: the nuclei as a label image; label i + 1 is the i-th annotation."""
        return self.session.instances()

    def static(self) -> str:
        """HTML that shows the present state without kernel, widget and script."""
        paths = {key: svg_path(mask) for key, mask in self.session.masks().items()}
        return static.html(self.pictures, self.session.shapes, paths, self.session.classes)

    def _publish(self) -> None:
        """Show the session's state in the browser."""
        with self.hold_sync():
            self.classes = list(self.session.classes)
            self.saved = self.session.revision
            self.shapes = [shape.plain() for shape in self.session.shapes]
        self._answer()

    def _changed(self, change: dict[str, Any]) -> None:
        edit = change["new"]
        try:
            self.session.change(int(edit["revision"]), edit["shapes"], edit.get("event"))
        except (ValueError, OSError, KeyError, TypeError) as error:
            self.trouble = f"NOT SAVED: {error}"
            return
        with self.hold_sync():
            self.trouble = ""
            self.saved = self.session.revision
        self._answer()

    def _answer(self) -> None:
        self.masks = {key: svg_path(mask) for key, mask in self.session.masks().items()}


def picture(name: str, pixels: np.ndarray) -> dict[str, Any]:
    """(H, W, 3) uint8 as the browser takes it."""
    data = imageio.imwrite("<bytes>", pixels, extension=".png")
    return {"name": name, "height": pixels.shape[0], "width": pixels.shape[1], "data": data}
