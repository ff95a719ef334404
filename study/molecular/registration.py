"""PAS and IF brought into register, or a refusal with numbers.

The paper (§4.1) names "a comprehensive multimodality multiscale registration process" without a recipe. Here: both
images are reduced to their nuclei (haematoxylin by colour deconvolution, DAPI); mutual information (Mattes et al.,
IEEE TMI 2003, as in SimpleITK) is maximised over affine maps, coarse to fine, then over cubic B-spline deformations
(Rueckert et al., IEEE TMI 1999), both ways. A result counts only if the two ways agree, the deformation is plausible
and the nuclei coincide better than chance: otherwise RegistrationFailed says what was found.

Coordinates: displacement[x] = y − x in pixels (row, column), where the moving image at y shows what the fixed image
shows at x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.metrics import normalized_mutual_information

from allinsam_core.data.errors import DataError
from study.extras import imported
from study.molecular.patch import HAEMATOXYLIN, MAGENTA, Patch

if TYPE_CHECKING:
    import SimpleITK as sitk

GRID = 64.0  # px between control points of the spline
BINS = 32
EDGE = 4  # px: points moved over the border leave the spline's domain


class RegistrationFailed(DataError):
    """The images were not brought into register; `quality` holds the numbers."""

    def __init__(self, message: str, quality: Quality) -> None:
        super().__init__(message)
        self.quality = quality


@dataclass(frozen=True)
class Limits:
    """What a registration must meet. Chosen on simulated pairs: right ones pass, unrelated or cut ones do not."""

    consistency: float = 2.0  # px, median of the way there and back
    consistency_95: float = 8.0  # px, its 95th percentile
    information: float = 6.0  # sd of the null above its mean
    jacobian: tuple[float, float] = (0.3, 3.0)  # local change of area, least and most
    displacement: float = 0.2  # largest, as a part of the image's side


@dataclass(frozen=True)
class Quality:
    """What was measured.

    information_before, information: normalised mutual information (1 … 2) of the nuclei before and after.
    score: (information − mean) / sd over displaced copies of the registered image, which share no nuclei.
    consistency, consistency_95: median and 95th percentile of |there and back − identity| in px.
    jacobian: least and greatest local change of area. displacement: the largest, px. failures: limits not met.
    """

    information_before: float
    information: float
    score: float
    consistency: float
    consistency_95: float
    jacobian: tuple[float, float]
    displacement: float
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Registration:
    """displacement: (H, W, 2) float32, row and column, pixels. transform: SimpleITK's, points of fixed → moving."""

    displacement: np.ndarray
    transform: sitk.Transform
    quality: Quality

    def warp(self, image: np.ndarray) -> np.ndarray:
        """A moving image (H, W) or (H, W, C) seen in the fixed frame; same dtype; 0 where it has no pixels."""
        grid = np.indices(image.shape[:2], dtype=np.float32) + np.moveaxis(self.displacement, -1, 0)
        channels = image.reshape(*image.shape[:2], -1)
        warped = [
            ndimage.map_coordinates(channels[..., c].astype(np.float32), grid, order=1, cval=0.0)
            for c in range(channels.shape[2])
        ]
        stacked = np.stack(warped, -1).reshape(image.shape)
        return np.rint(stacked).astype(image.dtype) if image.dtype.kind in "ui" else stacked.astype(image.dtype)


def haematoxylin(
    image: np.ndarray, stain: tuple[float, ...] = HAEMATOXYLIN, other: tuple[float, ...] = MAGENTA
) -> np.ndarray:
    """Haematoxylin (H, W) float32, log10 optical density ≥ 0, of an RGB image (H, W, 3) uint8 with two stains.

    Colour deconvolution (Ruifrok & Johnston 2001) by least squares; the 99th percentile of light counts as white.
    """
    light = np.maximum(image.astype(np.float32), 1)
    white = np.maximum(np.percentile(light.reshape(-1, 3), 99, axis=0), 1)
    density = -np.log10(np.minimum(light / white, 1.0))
    unmix = np.linalg.pinv(np.array([stain, other]))
    return np.maximum(density @ unmix[:, 0], 0).astype(np.float32)


def register(fixed: np.ndarray, moving: np.ndarray, limits: Limits | None = None) -> Registration:
    """Register two nuclear images (H, W) of equal shape, brighter = more nucleus.

    Returns the map from fixed to moving. Raises RegistrationFailed when a limit is not met, DataError for images of
    different or too small shape, or without contrast. Deterministic: one thread, every pixel.
    """
    if fixed.shape != moving.shape or fixed.ndim != 2 or min(fixed.shape) < 96:
        raise DataError(f"images of shape {fixed.shape} and {moving.shape}; expected two equal (H, W) of at least 96²")
    first, second = _prepared(fixed, "fixed"), _prepared(moving, "moving")
    there, back = _transform(first, second), _transform(second, first)
    displacement, inverse = _field(there, fixed.shape), _field(back, fixed.shape)
    found = Registration(displacement, there, Quality(0, 0, 0, 0, 0, (1, 1), 0))
    quality = _judged(_measure(first, second, found, inverse), limits or Limits(), max(fixed.shape))
    if quality.failures:
        raise RegistrationFailed(
            f"registration failed: {'; '.join(quality.failures)}. Check that the two images show the same tissue, "
            "align them roughly first, or leave the patch out",
            quality,
        )
    return replace(found, quality=quality)


def register_patch(patch: Patch, limits: Limits | None = None) -> tuple[Patch, Registration]:
    """The patch with its IF warped onto its PAS image, and the registration. Raises as `register` does."""
    if patch.molecular is None:
        raise DataError(f"{patch.name}: no IF image to register")
    found = register(haematoxylin(patch.pas), patch.channel("DAPI").astype(np.float32), limits)
    return replace(patch, molecular=found.warp(patch.molecular)), found


def marker_threshold(values: np.ndarray) -> float:
    """Otsu's threshold (IEEE TSMC 1979) of marker grey levels, best one mean per nucleus over a whole slide.

    An offer for when no pathologist has set one; heterogeneous expression and rare positives shift it.
    DataError for fewer than two different values.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size < 2 or not np.isfinite(values).all() or values.min() == values.max():
        raise DataError(f"{values.size} marker values without spread, expected positive and negative nuclei")
    return float(threshold_otsu(values))


def _prepared(image: np.ndarray, name: str) -> np.ndarray:
    """(H, W) float32 in 0 … 1: smooth background and outliers removed, square root to even out nuclei."""
    flat = image.astype(np.float32) - ndimage.minimum_filter(ndimage.gaussian_filter(image.astype(np.float32), 2), 61)
    low, high = np.percentile(flat, [1, 99.5])
    if not np.isfinite(flat).all() or high - low < 1e-6:
        raise DataError(f"the {name} image has no contrast (1st to 99.5th percentile {low:.3g} to {high:.3g})")
    return np.sqrt(np.clip((flat - low) / (high - low), 0, 1)).astype(np.float32)


def _method(first: np.ndarray, second: np.ndarray) -> tuple[sitk.ImageRegistrationMethod, sitk.Image, sitk.Image]:
    """Mutual information of the two images, one thread, all pixels."""
    sitk = imported("SimpleITK")
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetNumberOfThreads(1)
    return method, sitk.GetImageFromArray(first), sitk.GetImageFromArray(second)


def _transform(first: np.ndarray, second: np.ndarray) -> sitk.Transform:
    """Points of `first` → points of `second`: affine, then a spline on top of it."""
    sitk = imported("SimpleITK")
    method, fixed, moving = _method(first, second)
    affine = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(2), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 120, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([8, 4, 2])
    method.SetSmoothingSigmasPerLevel([8, 4, 2])
    method.SetInitialTransform(affine, inPlace=True)
    method.Execute(fixed, moving)

    method, fixed, moving = _method(first, second)
    mesh = [max(2, round(side / GRID)) for side in fixed.GetSize()]
    spline = sitk.BSplineTransformInitializer(fixed, mesh, order=3)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=[1, 1])
    method.SetOptimizerAsLBFGS2(solutionAccuracy=1e-4, numberOfIterations=50, deltaConvergenceTolerance=1e-5)
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([3, 1.5])
    method.Execute(fixed, moving)
    return sitk.CompositeTransform([affine, spline])


def _field(transform: sitk.Transform, shape: tuple[int, ...]) -> np.ndarray:
    """The transform as a displacement (H, W, 2) float32, row then column."""
    sitk = imported("SimpleITK")
    image = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat32, (shape[1], shape[0]))
    return np.ascontiguousarray(sitk.GetArrayFromImage(image)[..., ::-1])


def _measure(first: np.ndarray, second: np.ndarray, found: Registration, inverse: np.ndarray) -> Quality:
    """The numbers of Quality, without a verdict."""
    forward, shape = found.displacement, first.shape
    grid = np.indices(shape, dtype=np.float32)
    there = grid + np.moveaxis(forward, -1, 0)
    sides = np.array(shape).reshape(2, 1, 1)
    within = ((there >= 0) & (there <= sides - 1)).all(0)
    again = np.stack([ndimage.map_coordinates(inverse[..., axis], there, order=1, mode="nearest") for axis in (0, 1)])
    gap = np.hypot(*(there + again - grid))
    gap = gap[within] if within.any() else gap.ravel()
    (row_by_row, row_by_column), (column_by_row, column_by_column) = (np.gradient(plane) for plane in there)
    area = (row_by_row * column_by_column - row_by_column * column_by_row)[EDGE:-EDGE, EDGE:-EDGE]
    warped = found.warp(second)
    quarter = [(r * shape[0] // 5, c * shape[1] // 5) for r in range(5) for c in range(5) if (r, c) != (0, 0)]
    chance = [_information(first, np.roll(warped, shift, (0, 1))) for shift in quarter]
    information = _information(first, warped)
    return Quality(
        information_before=_information(first, second),
        information=information,
        score=float((information - np.mean(chance)) / max(float(np.std(chance)), 1e-6)),
        consistency=float(np.median(gap)),
        consistency_95=float(np.percentile(gap, 95)),
        jacobian=(float(area.min()), float(area.max())),
        displacement=float(np.hypot(forward[..., 0], forward[..., 1]).max()),
    )


def _information(first: np.ndarray, second: np.ndarray) -> float:
    return float(normalized_mutual_information(first, second, bins=BINS))


def _judged(quality: Quality, limits: Limits, side: int) -> Quality:
    """The quality with the limits that it does not meet, each with its number."""
    low, high = limits.jacobian
    checks = (
        (quality.consistency <= limits.consistency,
         f"there and back differs by {quality.consistency:.1f} px in the median, expected ≤ {limits.consistency}"),
        (quality.consistency_95 <= limits.consistency_95,
         f"there and back differs by {quality.consistency_95:.1f} px (95 %), expected ≤ {limits.consistency_95}"),
        (quality.score >= limits.information,
         f"nuclei coincide {quality.score:.1f} sd better than chance, expected ≥ {limits.information}"),
        (low <= quality.jacobian[0] and quality.jacobian[1] <= high,
         f"areas change by {quality.jacobian[0]:.2f} … {quality.jacobian[1]:.2f}, expected {low} … {high}"),
        (quality.displacement <= limits.displacement * side,
         f"displacements up to {quality.displacement:.0f} px, expected ≤ {limits.displacement * side:.0f}"),
    )  # fmt: skip
    return replace(quality, failures=tuple(message for passed, message in checks if not passed))
