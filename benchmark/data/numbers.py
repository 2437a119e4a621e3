"""Numbers of the pixels: the types that a store keeps, what replaces missing numbers, and the sums of each patch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.common.errors import DataError
from benchmark.data.bands import both

KINDS = ("uint8", "uint16", "int16", "float32")
SAMPLED = 128  # pixels of a patch; 77,412 patches of four 16-bit bands keep 79 MB of them in memory
_GAPS = (-32768, -9999, -99999)  # what programs write where there is no data
_LARGEST = 1e30  # no quantity that is mapped comes near it, but what some programs write where there is no data
_SHARES = np.sort(np.random.default_rng(0).random(SAMPLED))


def check_kind(path: Path, kind: str) -> None:
    """Raise `DataError` where pixels have a type that is not among `KINDS`."""
    if kind not in KINDS:
        raise DataError(
            f"{path}: pixels are {kind}; {', '.join(KINDS[:-1])} and {KINDS[-1]} images can be used; convert them "
            "(gdal_translate -ot Float32)"
        )


def without_gaps(
    path: Path, image: NDArray, valid: NDArray[np.bool_] | None
) -> tuple[NDArray, NDArray[np.bool_] | None]:
    """Set pixels without data to 0, in images of other types than uint8, whose numbers stay as they are.

    A number that is not finite in any band of a pixel means that the pixel has no data.

    Args:
        path: file that a message names.
        image: (C, H, W) numbers of one of the `KINDS`.
        valid: (H, W) bool, False where the file says that it has no data; None where it has some everywhere.

    Returns:
        the image, finite everywhere, and where it has data; None where it has some everywhere.

    Raises:
        DataError: numbers with data are absurdly large, or those that programs write where there is none.
    """
    if image.dtype == np.uint8:
        return image, valid
    if image.dtype.kind == "f":
        valid = both(valid, np.isfinite(image).all(axis=0))
    seen = image.reshape(len(image), -1) if valid is None else image[:, valid]
    largest = seen.flat[np.abs(seen).argmax()] if image.dtype.kind == "f" and seen.size else 0
    if abs(largest) > _LARGEST:
        raise DataError(
            f"{path}: holds {largest:g}, which looks like pixels without data that no tag marks; set the tag "
            f"(gdal_edit.py -a_nodata {largest:.9g})"
        )
    lowest = seen.min(initial=0)
    if lowest in _GAPS and (share := (seen == lowest).all(axis=0).mean()):
        raise DataError(
            f"{path}: holds {lowest:g} in all bands of {share:.1%} of its pixels, which looks like pixels without data "
            f"that no tag marks; set the tag (gdal_edit.py -a_nodata {lowest:g})"
        )
    if valid is None or valid.all():
        return image, None
    return np.where(valid, image, image.dtype.type(0)), valid


def fill_in(images: NDArray, valid: NDArray[np.bool_] | None) -> NDArray:
    """Return patches (n, C, S, S) whose pixels without data have the mean of the patch's others; uint8 as they are.

    Args:
        images: numbers of one of the `KINDS`, finite.
        valid: (n, S, S) bool, False where there is no data; None where there is some everywhere.
    """
    if images.dtype == np.uint8 or valid is None:
        return images
    filled = images.copy()
    for image, where in zip(filled, valid, strict=True):
        if where.any() and not where.all():
            mean = image[:, where].mean(axis=1, dtype=np.float64)
            image[:, ~where] = (mean if image.dtype.kind == "f" else np.rint(mean))[:, None]
    return filled


@dataclass(frozen=True, eq=False)
class PixelSums:
    """Sums over the pixels with data of each of n patches.

    Attributes:
        sums, square_sums: (n, C) float64.
        valid: (n,) int64, the number of pixels with data.
        extremes: (n, C, 2) float64, smallest and largest value; infinity and its negative where there is no data.
        sample: (n, C, `SAMPLED`) values of some pixels with data, the same pixels in all bands, in the images' type;
            of uint8 images, which have a histogram, (n, C, 0).
        histogram: (C, 256) int64, pixels of each value over all patches; of other than uint8 images (C, 0).
    """

    sums: NDArray[np.float64]
    square_sums: NDArray[np.float64]
    valid: NDArray[np.int64]
    extremes: NDArray[np.float64]
    sample: NDArray
    histogram: NDArray[np.int64]

    @property
    def varies(self) -> NDArray[np.bool_]:
        """Patches (n,) of which any band has more than one value."""
        return np.asarray((self.extremes[..., 1] > self.extremes[..., 0]).any(axis=1))


def sum_pixels(images: NDArray, valid: NDArray[np.bool_] | None) -> PixelSums:
    """Return the sums of patches (n, C, S, S) of one of the `KINDS`, over the pixels where (n, S, S) is True."""
    if images.dtype == np.uint8:
        return _sum_bytes(images, valid)
    each = [
        image.reshape(len(image), -1) if valid is None else image[:, where]
        for image, where in zip(images, images if valid is None else valid, strict=True)
    ]
    count, bands = images.shape[:2]
    sample = np.zeros((count, bands, SAMPLED), images.dtype)
    extremes = np.tile(np.array([np.inf, -np.inf]), (count, bands, 1))
    for number, values in enumerate(each):
        if values.size:
            sample[number] = values[:, (_SHARES * values.shape[1]).astype(np.int64)]
            extremes[number] = np.stack([values.min(axis=1), values.max(axis=1)], axis=1)
    return PixelSums(
        np.array([values.sum(axis=1, dtype=np.float64) for values in each]),
        np.array([np.square(values, dtype=np.float64).sum(axis=1) for values in each]),
        np.array([values.shape[1] for values in each], dtype=np.int64),
        extremes,
        sample,
        np.zeros((bands, 0), np.int64),
    )


def join_sums(parts: Sequence[PixelSums]) -> dict[str, Any]:
    """Return the fields of the sums of some patches after each other, those of all patches added up."""
    each = {field.name: [getattr(part, field.name) for part in parts] for field in fields(PixelSums)}
    total = np.sum(each.pop("histogram"), axis=0)
    return {name: np.concatenate(values) for name, values in each.items()} | {"histogram": total}


def _sum_bytes(images: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> PixelSums:
    masks = [None] * len(images) if valid is None else [Image.fromarray(each) for each in valid]
    counts = np.array(
        [[count_values(band, where) for band in image] for image, where in zip(images, masks, strict=True)]
    )
    occurs, values = counts > 0, np.arange(256, dtype=np.int64)
    any_data = occurs.any(axis=2)
    return PixelSums(
        (counts @ values).astype(np.float64),
        (counts @ values**2).astype(np.float64),
        counts[:, 0].sum(axis=1),
        np.stack(
            [
                np.where(any_data, occurs.argmax(axis=2), np.inf),
                np.where(any_data, 255 - occurs[..., ::-1].argmax(axis=2), -np.inf),
            ],
            axis=2,
        ),
        np.zeros((*images.shape[:2], 0), np.uint8),
        counts.sum(axis=0),
    )


def count_values(plane: NDArray[np.uint8], where: Image.Image | None = None) -> list[int]:
    """Count the pixels of each value 0..255, with pillow in a third of the time of `numpy.bincount`."""
    return Image.fromarray(plane).histogram(where)


def mixed_kinds(one: str, kind: np.dtype, other: str, other_kind: np.dtype) -> DataError:
    """Return the error that names images of two types in one data set."""
    return DataError(
        f"{one}: pixels are {kind}, but those of {other} {other_kind}; all images of a data set must be of one type, "
        "and tags of scale and offset make it float32: convert some (gdal_translate -ot, or -unscale)"
    )
