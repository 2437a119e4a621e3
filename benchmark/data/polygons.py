"""Masks as polygons: a GeoPackage, GeoJSON or shapefile whose attribute says which class each polygon is."""

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from benchmark.common.errors import DataError
from benchmark.data.classes import IGNORE, POLYGONS, ClassSet, PolygonKeys
from benchmark.data.georeference import Box, Georeference, Size

_BEGINNINGS = dict(zip(POLYGONS, (b"SQLite format 3\0", b"{", b"\0\0\x27\x0a"), strict=True))
_OFFLINE = {"CPL_VSIL_CURL_ALLOWED_FILENAME": "/none", "OGR_GEOJSON_MAX_OBJ_SIZE": "0"}


def check_polygons(path: Path, keys: PolygonKeys, classes: ClassSet, images: Iterable[tuple[Box, CRS | None]]) -> None:
    """Refuse a file whose attribute holds what is no class, or that shows other ground than all of its images.

    Args:
        path: path of the file.
        keys: keys of the description.
        classes: classes of the data set.
        images: box and coordinate system of each image of which this is the mask.

    Raises:
        DataError: that, or the file cannot be read, has no such attribute, or several layers of polygons.
    """
    with readable(path):
        import pyogrio

        layer = only_layer(path)
        about = pyogrio.read_info(path, layer=layer, force_total_bounds=True)
        if keys.field not in about["fields"]:
            known = ", ".join(about["fields"]) or "none"
            raise DataError(f"{path}: has no attribute '{keys.field}' (key 'mask_field'); its attributes are {known}")
        _, _, _, (values,) = pyogrio.raw.read(path, layer=layer, columns=[keys.field], read_geometry=False)
        _indices(path, values, keys, classes)
        bounds, crs = about["total_bounds"], crs_of(about["crs"])
        boxes = [_in_system(path, box, of_image, crs) for box, of_image in images]
    if bounds is None or not any(_meet(box, bounds) for box in boxes):
        raise DataError(f"{path}: shows other ground than its images; its polygons are within {bounds} ({crs})")


def read_polygons(
    path: Path, keys: PolygonKeys, classes: ClassSet, place: Georeference | None, size: Size, area: Window | None
) -> NDArray[np.uint8]:
    """Return the class indices (H, W) of an image, or of an area of it.

    A pixel is of the polygon that holds its centre; of several, of the last in the file.

    Args:
        path: path of the file.
        keys: keys of the description.
        classes: classes of the data set.
        place: georeference of the image.
        size: height and width of the image.
        area: area of the image; None for all.

    Raises:
        DataError: the file cannot be read, holds other things than polygons or what is no class, or one of the two does
            not say where it is.
    """
    if place is None:
        raise DataError(f"{path}: its image has no georeference, so its polygons cannot be laid on it")
    area = area or Window(0, 0, size[1], size[0])
    fill = classes.names.index(keys.background) if keys.background else IGNORE
    with readable(path):
        import pyogrio
        import shapely

        layer = only_layer(path)
        crs = crs_of(pyogrio.read_info(path, layer=layer)["crs"])
        box = _in_system(path, place.box(area.row_off, area.col_off, area.height, area.width), place.crs, crs)
        _, numbers, shapes, (values,) = pyogrio.raw.read(
            path, layer=layer, columns=[keys.field], bbox=box, force_2d=True, return_fids=True
        )
        order = np.argsort(numbers)  # an index of the file gives another
        polygons, indices = shapely.from_wkb(shapes[order]), _indices(path, values[order], keys, classes)
        kept = ~(shapely.is_missing(polygons) | shapely.is_empty(polygons))
        if other := set(shapely.get_type_id(polygons[kept]).tolist()) - {3, 6}:
            raise DataError(f"{path}: holds {shapely.GeometryType(other.pop()).name} where polygons are expected")
        if crs is not None and crs != place.crs:
            polygons = shapely.transform(polygons, lambda points: moved(points, crs, place.crs))
        pairs = list(zip(polygons[kept], indices[kept].tolist(), strict=True))
        if not pairs:
            return np.full((area.height, area.width), fill, np.uint8)
        corner = place.transform @ Affine.translation(area.col_off, area.row_off)
        return rasterize(pairs, (area.height, area.width), fill=fill, transform=corner, dtype=np.uint8)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Have pyogrio read one file and nothing that it names; its errors in a block become a `DataError`."""
    import pyogrio  # brings a GDAL of its own, which few descriptions need

    pyogrio.set_gdal_config_options(_OFFLINE)
    try:
        with path.open("rb") as file:  # GDAL would take a file of any kind, such as one that names others
            if not file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(_BEGINNINGS[path.suffix.lower()]):
                raise DataError(f"{path}: is no {path.suffix.lower()[1:]} file, whatever its name says")
        yield
    except (
        *(pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError),
        *(CPLE_BaseError, RasterioError, OSError, ValueError),
    ) as error:
        raise DataError(f"{path}: cannot be read, perhaps damaged: {str(error).splitlines()[0][:300]}") from error


def only_layer(path: Path) -> str:
    """Return the only layer of polygons."""
    import pyogrio

    layers = pyogrio.list_layers(path)
    found = [str(name) for name, kind in layers if kind is not None]
    if len(found) != 1:
        raise DataError(f"{path}: holds {len(found)} layers of shapes ({', '.join(found)}) where one is expected")
    return found[0]


def crs_of(text: str | None) -> CRS | None:
    """Return a coordinate system as pyogrio names it; None where the file names none."""
    return CRS.from_user_input(text) if text else None


def _in_system(path: Path, box: Box, crs: CRS | None, wanted: CRS | None) -> Box:
    """Return a box in another coordinate system; a file that names none has that of its image."""
    if wanted is None or crs == wanted:
        return box
    if crs is None:
        raise DataError(f"{path}: is in {wanted}, and its image names no coordinate system")
    return transform_bounds(crs, wanted, *box)


def moved(points: NDArray[np.float64], crs: CRS, wanted: CRS) -> NDArray[np.float64]:
    """Return points (n, 2) in another coordinate system."""
    return np.stack(transform_points(crs, wanted, points[:, 0], points[:, 1])[:2], 1)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _indices(path: Path, values: NDArray, keys: PolygonKeys, classes: ClassSet) -> NDArray[np.uint8]:
    """Return the index of each attribute: of the class of that name or, for a number, of that value.

    What is empty, to be ignored, or a class that is not evaluated is `IGNORE`.
    """
    names = {unicodedata.normalize("NFC", each.name): each for each in classes.classes}
    numbers = {} if classes.colors_in_mask else {str(value): each for each in classes.classes for value in each.values}
    known = {
        text: classes.evaluated.index(each) if not each.ignored else IGNORE for text, each in (numbers | names).items()
    }
    known |= dict.fromkeys((unicodedata.normalize("NFC", text) for text in (*keys.ignored, "")), IGNORE)
    texts = [text_of(value) for value in values.tolist()]
    if unknown := sorted(set(texts) - set(known)):
        shown = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        expected = ", ".join(repr(text) for text in known if text)
        raise DataError(
            f"{path}: the attribute '{keys.field}' holds {shown}, which are no class; known are {expected}. Add them "
            "to [[classes]] or 'ignore'"
        )
    return np.array([known[text] for text in texts], np.uint8)


def text_of(value: object) -> str:
    """Return an attribute as text: "" where it is missing, a whole number without a point."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return unicodedata.normalize("NFC", str(value))
