"""Is this a stained section in bright field? What is none holds no nuclei that the networks could know."""

from __future__ import annotations

import numpy as np

SPREAD = 8  # grey levels; an image of fewer shows nothing
DARK = 60  # median grey level; dark ground is below it
GREEN = 5  # levels of mean green above both red and blue; stained tissue takes green away


def unfit(image: np.ndarray) -> str:
    """Why an image (H, W, 3) uint8 RGB shows no stained nuclei, and what to do; "" where it may.

    Of the 278 stained and grey brightfield images of MoNuSeg, BRCA-M2C and DSB2018 none is refused, and of their 278
    negatives (255 − image) every one is, for its dark ground or for its green.
    """
    step = max(1, round((image.shape[0] * image.shape[1] / 1e6) ** 0.5))
    red, green, blue = (float(channel.mean()) for channel in np.moveaxis(image[::step, ::step], 2, 0))
    if np.ptp(image) < SPREAD:
        return f"the image is of one colour (about {red:.0f}, {green:.0f}, {blue:.0f}): nothing to segment"
    ground = float(np.median(image[::step, ::step].mean(2)))
    remedy = "Invert a negative first (255 less each value); fluorescence is not what the networks have learnt"
    if ground < DARK:
        return f"the ground is dark (median grey level {ground:.0f}, expected {DARK} or more). {remedy}"
    if green > max(red, blue) + GREEN:
        return f"the image is green (mean red {red:.0f}, green {green:.0f}, blue {blue:.0f}), tissue never. {remedy}"
    return ""
