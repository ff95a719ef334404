"""From boxes to masks: SAM as annotator (Kirillov et al. 2023, arXiv 2304.02643; paper, §3.1).

One embedding per window, shared by all its boxes; the mask decoder runs on all boxes at once. Windows are resized as
by segment-anything's `ResizeLongestSide`; `Sam.preprocess` and `Sam.postprocess_masks` are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from PIL import Image

from allinsam_core.annotation import ellipse
from allinsam_core.annotation.boxes import validate
from allinsam_core.annotation.sam import Sam, decode, embed, mini_geometry
from allinsam_core.annotation.windows import Window, assign
from allinsam_core.data.case import PLAUSIBLE_SPACING

MINI_SPACING = 0.25  # µm/px that a mini-SAM's field is stated at
SMALLEST_FIELD = 16
PIXELS_AT_ONCE = 2**23  # of full-size logits; bounds the memory of one decoder batch


def field_at(spacing: float, field: int, at: float) -> int:
    """The side in pixels, even and at least 16, that `field` pixels of `at` µm have where a pixel has `spacing` µm."""
    return max(SMALLEST_FIELD, 2 * round(field * at / spacing / 2))


def default_field(sam: Sam, spacing: float) -> int | None:
    """Side of a window in image pixels. A mini-SAM: the field it was trained at; else None, the whole image.

    spacing: µm per pixel.
    """
    if not PLAUSIBLE_SPACING[0] <= spacing <= PLAUSIBLE_SPACING[1]:
        raise ValueError(
            f"spacing is {spacing}, expected µm per pixel > 0, from 0.02 to 10, for instance 0.25 for a 40× scan"
        )
    geometry = mini_geometry(sam)
    return None if geometry is None else field_at(spacing, geometry.field, MINI_SPACING)


def is_mini(sam: Sam) -> bool:
    """Whether this is a mini-SAM, which has habits of its own: its scale, and ellipses beside boxes."""
    return mini_geometry(sam) is not None


@dataclass(frozen=True, eq=False)
class BoxMask:
    """The mask of one box: mask (h, w) bool, its first pixel (top, left) of the image; score: predicted IoU.

    The mask is cut to its own extent; an empty one has shape (0, 0).
    """

    top: int
    left: int
    mask: np.ndarray
    score: float

    def full(self, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) bool: the mask in its image."""
        canvas = np.zeros(shape, dtype=bool)
        height, width = self.mask.shape
        canvas[self.top : self.top + height, self.left : self.left + width] = self.mask
        return canvas


class BoxAnnotator:
    """Answers boxes on one image at a time with any `Sam`; embeddings are kept until the next `set_image`.

    field: window side in image pixels (`default_field`), None = the whole image. batch: most boxes per decoder call.
    multimask: of SAM's three candidates, keep the one with the highest predicted IoU, instead of its single mask.
    ellipses: prompt with the box's inscribed ellipse too; None: as this SAM was trained, mini-SAM with, Meta's without.
    bfloat16: of the encoder's products; the decoder is float32.
    """

    def __init__(
        self,
        sam: Sam,
        field: int | None,
        overlap: float = 0.5,
        multimask: bool = False,
        batch: int = 32,
        ellipses: bool | None = None,
        bfloat16: bool = False,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch is {batch}, expected at least one box")
        self.sam, self.field, self.overlap = sam.eval(), field, overlap
        self.multimask, self.batch, self.bfloat16 = multimask, batch, bfloat16
        self.ellipses = is_mini(sam) if ellipses is None else ellipses
        self._image: np.ndarray | None = None
        self._embeddings: dict[Window, tuple[torch.Tensor, ...]] = {}  # of a window: (C, h, w), then its fine maps

    def set_image(self, image: np.ndarray) -> None:
        """image: (H, W, 3) uint8 RGB of any size. Forgets the previous image; nothing is computed yet."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image is {image.dtype} {image.shape}, expected uint8 (H, W, 3) RGB")
        self._image = image
        self._embeddings = {}

    @property
    def image(self) -> np.ndarray:
        """The current image, (H, W, 3) uint8."""
        if self._image is None:
            raise RuntimeError("no image yet; call set_image before asking for masks")
        return self._image

    def annotate(self, image: np.ndarray, boxes: np.ndarray, source: str = "boxes") -> list[BoxMask]:
        """`set_image` and `predict` in one."""
        self.set_image(image)
        return self.predict(boxes, source)

    def predict(self, boxes: np.ndarray, source: str = "boxes") -> list[BoxMask]:
        """One mask per box, in order. boxes: (N, 4) XYXY px of the current image, half-open; source names them.

        Raises ValueError for a box that is outside the image, inverted or empty.
        """
        return [mask for _, mask in sorted(self._answers(boxes, source), key=lambda pair: pair[0])]

    def embed(self, boxes: np.ndarray) -> None:
        """Compute the embeddings that `boxes` need, so that a later `predict` only decodes."""
        self._embed(self._windows(validate(boxes, self._shape, "boxes")))

    @property
    def _side(self) -> int:
        """Of the low-resolution masks that SAM takes as prompts."""
        return 4 * int(self.sam.prompt_encoder.image_embedding_size[0])

    @property
    def _shape(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def _windows(self, boxes: np.ndarray) -> list[Window]:
        return assign(boxes, self._shape, self.field, self.overlap)

    def _chunks(self, windows: Sequence[Window]) -> list[tuple[list[int], Window]]:
        """Rows that one decoder call answers: windows of one size, few enough for the memory. With a window each."""
        order = sorted(range(len(windows)), key=lambda r: (windows[r].height, windows[r].width, windows[r]))
        chunks = []
        for _, group in groupby(order, key=lambda r: (windows[r].height, windows[r].width)):
            rows = list(group)
            pixels = max(windows[rows[0]].height * windows[rows[0]].width, self.sam.image_encoder.img_size**2)
            size = max(1, min(self.batch, PIXELS_AT_ONCE // pixels))
            chunks += [(rows[i : i + size], windows[rows[i]]) for i in range(0, len(rows), size)]
        return chunks

    @torch.no_grad()
    def _answers(self, boxes: np.ndarray, source: str) -> list[tuple[int, BoxMask]]:
        checked = validate(boxes, self._shape, source)
        windows = self._windows(checked)
        answers = []
        for rows, like in self._chunks(windows):
            low, scores = self._decode(checked[rows], [windows[r] for r in rows])
            full = self.sam.postprocess_masks(low, self._input_size(like), (like.height, like.width))
            masks = (full[:, 0] > self.sam.mask_threshold).cpu().numpy()
            for row, mask, score in zip(rows, masks, scores.tolist(), strict=True):
                answers.append((row, _cut(mask, windows[row], self._shape, score)))
        return answers

    def _input_size(self, window: Window) -> tuple[int, int]:
        """Height and width of a window in SAM's input, whose longer side it fills."""
        scale = self.sam.image_encoder.img_size / max(window.height, window.width)
        return int(window.height * scale + 0.5), int(window.width * scale + 0.5)

    def _input(self, window: Window) -> np.ndarray:
        """(h, w, 3) uint8: the window's pixels at the size of SAM's input."""
        height, width = self._input_size(window)
        pixels = Image.fromarray(window.cut(self.image))
        return np.asarray(pixels.resize((width, height), Image.Resampling.BILINEAR))

    @torch.no_grad()
    def _embed(self, windows: Sequence[Window]) -> None:
        """Embed what is not yet embedded, a few windows of one size at a time."""
        new = sorted(set(windows) - self._embeddings.keys(), key=lambda w: (self._input_size(w), w))
        step = max(1, 2**19 // self.sam.image_encoder.img_size**2)
        for _, group in groupby(new, key=self._input_size):
            same = list(group)
            for start in range(0, len(same), step):
                part = same[start : start + step]
                pixels = np.stack([self._input(w) for w in part])
                inputs = torch.from_numpy(pixels).to(self.sam.device).permute(0, 3, 1, 2)
                with torch.autocast(self.sam.device.type, torch.bfloat16, enabled=self.bfloat16):
                    embedded, fine = embed(self.sam, self.sam.preprocess(inputs))
                maps = (each.float() for each in (embedded, *fine))
                self._embeddings.update(zip(part, zip(*maps, strict=True), strict=True))

    def _decode(self, boxes: np.ndarray, windows: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor]:
        """Low-resolution logits (N, 1, s, s) and predicted IoUs (N,) of boxes (N, 4) in image pixels."""
        self._embed(windows)
        local = boxes.astype(np.float64) - np.array([(w.left, w.top, w.left, w.top) for w in windows])
        sizes = np.array([(*self._input_size(w), w.height, w.width) for w in windows], dtype=np.float64)
        scale = (sizes[:, :2] / sizes[:, 2:])[:, [1, 0, 1, 0]]  # of x, y, x, y
        prompts = torch.from_numpy((local * scale).astype(np.float32)).to(self.sam.device)
        sparse, dense = self._encoded(prompts)
        embedding, *fine = (torch.stack(maps) for maps in zip(*(self._embeddings[w] for w in windows), strict=True))
        position = self.sam.prompt_encoder.get_dense_pe()[0]
        tokens = slice(1, None) if self.multimask else slice(0, 1)
        logits, scores = decode(self.sam.mask_decoder, embedding, position, sparse, dense, tokens, tuple(fine))
        best = scores.argmax(dim=1)
        row = torch.arange(len(best), device=best.device)
        return logits[row, best][:, None], scores[row, best]

    def _encoded(self, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """SAM's sparse and dense embeddings of boxes (N, 4), XYXY pixels of its input."""
        hints = ellipse.logits(boxes, self.sam.image_encoder.img_size, self._side) if self.ellipses else None
        sparse, dense = self.sam.prompt_encoder(points=None, boxes=boxes, masks=hints)
        return sparse, dense


def inscribed(boxes: np.ndarray, shape: tuple[int, int], source: str = "boxes") -> list[BoxMask]:
    """Each box's inscribed ellipse, without the image: the baseline that a box-prompted mask must exceed.

    boxes: (N, 4) XYXY px, half-open. shape: (H, W) of the image. A pixel belongs where its centre lies inside.
    """
    answers = []
    for x0, y0, x1, y1 in validate(boxes, shape, source).astype(np.float64):
        top, left = int(y0), int(x0)
        row, column = np.ogrid[top : int(np.ceil(y1)), left : int(np.ceil(x1))]
        y = (row + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
        x = (column + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
        answers.append(_cut(x**2 + y**2 < 1, Window(top, left, row.size, column.size), shape, 1.0))
    return answers


def _cut(mask: np.ndarray, window: Window, shape: tuple[int, int], score: float) -> BoxMask:
    """The part of a window's mask inside the image, cut to its extent."""
    first_row, first_column = max(0, -window.top), max(0, -window.left)
    inside = mask[first_row : shape[0] - window.top, first_column : shape[1] - window.left]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return BoxMask(0, 0, np.zeros((0, 0), dtype=bool), score)
    tight = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    top, left = window.top + first_row + int(rows[0]), window.left + first_column + int(columns[0])
    return BoxMask(top, left, tight, score)
