"""The record of the images that a run was trained on: what its network must be given to make a map."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio._err import CPLE_BaseError  # as a transformation raises it
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform as transform_points

from benchmark.common.errors import DataError
from benchmark.common.files import read_json
from benchmark.data.catalog import Catalog
from benchmark.data.classes import ClassSet, LandClass
from benchmark.data.georeference import Georeference, Size
from benchmark.data.raster import image_header
from benchmark.experiments.jobs import Bench, Job
from benchmark.experiments.labels import parse_label
from benchmark.experiments.run_folder import Files
from benchmark.training.fold_data import FoldData
from methods.base import Needs

IMAGES = "images.json"
AXIS, FLATTENING = 6_378_137.0, 1 / 298.257222101  # of the ellipsoid GRS80, in metres
PLANE = 0.02  # a projection that is wrong by more, such as that of web maps, measures nothing
KNOWN_FROM = 25  # images whose headers are read for the resolution, where the catalog does not know it


@dataclass(frozen=True)
class ImageRecord:
    """The images of a run.

    Attributes:
        bands: names of the bands, in order.
        file_bands: names of all bands of the files, where patches have only some of them; () if all.
        resolution: side of a pixel on the ground in metres, after shrinking; None where it is not known.
        patch_size: side of a patch in pixels.
        crop: side of what a step of the training saw of it; 0 for all.
        classes: all classes, with their values in the masks.
        domains: `Task.domains` of the method.
        places: places of the source's training patches.
        dates: first and last month of these, as ``"2019-04"``; "" where no date is known.
    """

    bands: tuple[str, ...]
    file_bands: tuple[str, ...]
    resolution: float | None
    patch_size: int
    crop: int
    classes: ClassSet
    domains: tuple[str, ...]
    places: tuple[str, ...]
    dates: tuple[str, str]

    @classmethod
    def of(cls, catalog: Catalog, data: FoldData, needs: Needs, crop: int) -> "ImageRecord":
        """Return the record of a fold.

        Args:
            data: a fold of the catalog.
            needs: data that the method sees.
            crop: side of the crops in training, 0 for none.
        """
        ids = [data.store.ids[row] for row in data.parts["source_train"].rows]
        patches = catalog.patches.set_index("id").loc[ids]
        months = sorted({date[:7] for date in patches["date"]} - {""})
        return cls(
            catalog.bands,
            catalog.file_bands,
            _resolution(catalog, ids),
            catalog.patch_size,
            crop,
            catalog.classes,
            data.task_of(needs).domains,
            tuple(sorted(set(patches["place"]))),
            (months[0], months[-1]) if months else ("", ""),
        )

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ImageRecord":
        """Return the record of what `write_record` wrote."""
        classes = record["classes"]
        resolution = record["resolution"]
        return cls(
            bands=tuple(map(str, record["bands"])),
            file_bands=tuple(map(str, record["file_bands"])),
            resolution=None if resolution is None else float(resolution),
            patch_size=int(record["patch_size"]),
            crop=int(record["crop"]),
            classes=ClassSet(
                str(classes["name"]),
                tuple(LandClass(**{**each, "values": tuple(each["values"])}) for each in classes["classes"]),
                tuple(classes["ignored_values"]),
                bool(classes["colors_in_mask"]),
                int(classes["mask_band"]),
            ),
            domains=tuple(map(str, record["domains"])),
            places=tuple(map(str, record["places"])),
            dates=(str(record["dates"][0]), str(record["dates"][1])),
        )


def write_record(folder: Path, bench: Bench, job: Job) -> None:
    """Write the record of a job's images into the folder of its run."""
    setting = parse_label(job.label)
    record = ImageRecord.of(bench.catalog, bench.fold_data(job.fold), setting.method.needs, bench.plan.recipe.crop)
    (folder / IMAGES).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")


def read_record(folder: Files) -> ImageRecord:
    """Return the record in the folder of a run.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / IMAGES
    if not path.is_file():
        raise DataError(
            f"{folder}: has no {IMAGES}, which says on what images the run was trained, so that no map can be made: "
            "an earlier version of landshift trained it; train it again"
        )
    try:
        return ImageRecord.from_json(read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: no record of images ({error!r})") from error


def metres_per_pixel(place: Georeference | None, size: Size) -> tuple[float, float] | None:
    """Return height and width of a file's pixels in metres; None where its place on the earth is not known.

    Raises:
        DataError: the file is nowhere on the earth.
    """
    if place is None or place.crs is None:
        return None
    row, column = size[0] / 2, size[1] / 2
    ends = [place.transform @ (column + right, row + down) for down, right in ((0, 0), (1, 0), (0, 1))]
    try:
        east, north = np.radians(transform_points(place.crs, CRS.from_epsg(4326), *zip(*ends, strict=True))[:2])
    except (RasterioError, CPLE_BaseError):
        east = north = np.full(3, np.nan)
    if not (np.isfinite(east) & (np.abs(north) < np.pi / 2)).all():
        raise DataError("by their georeference images are nowhere on the earth; correct a wrong georeference")
    square = FLATTENING * (2 - FLATTENING)
    bend = np.sqrt(1 - square * np.sin(north[0]) ** 2)
    across, up = np.cos(north[0]) * AXIS / bend * (east - east[0]), AXIS * (1 - square) / bend**3 * (north - north[0])
    on_earth = np.hypot(across, up)[1:]
    if place.crs.is_projected:
        plane = np.hypot(*np.subtract(ends, ends[0]).T)[1:] * place.crs.linear_units_factor[1]
        on_earth = np.where(np.abs(plane - on_earth) < PLANE * on_earth, plane, on_earth)  # as national maps mean it
    height, width = on_earth.tolist()
    return height, width


def _resolution(catalog: Catalog, ids: list[str]) -> float | None:
    """Return the median side of a pixel of some patches in metres; None where it is not known."""
    images = catalog.patches.set_index("id").loc[ids, "image"].unique()
    sides = np.array([side / catalog.member(image).scale for image in images[:KNOWN_FROM] for side in _sides(image)])
    if not len(sides) and catalog.footprints is not None:
        boxes = catalog.footprints.reindex(ids).to_numpy(np.float64)
        sides = (boxes[:, 2:] - boxes[:, :2]).ravel() / catalog.patch_size
    sides = sides[np.isfinite(sides)]
    return float(np.median(sides)) if len(sides) else None


def _sides(image: str) -> tuple[float, ...]:
    try:
        size, place = image_header(Path(image))
        return metres_per_pixel(place, size) or ()
    except DataError:  # the patches are in the store, and a map can be made without
        return ()
