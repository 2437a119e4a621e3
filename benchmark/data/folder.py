"""Folders of a user's own images and masks as catalogs, each described by one small TOML file.

```toml
name = "dubai"
root = "."                             # relative to this file
bands = ["red", "green", "blue"]
use = ["green", 1]                     # optional: only these of the bands, by name or number, in this order
patch_size = 128
scale = 0.5                            # optional: shrink images and masks when reading them
image = "{tile}/images/{part}.jpg"     # captures parts of names; {year:4}, {date:%Y%m%d} and {part:[a-z]+} say what
                                       # a list of such: the files of one image, bands after bands; the first captures
mask = "{tile}/masks/{part}.png"       # optional; images whose mask does not exist have none
mosaic = "{tile}"                      # optional: images of which this text is the same are tiles of one image
place = "{tile}"                       # a template over what was captured, {stem}, and the columns of the table
zone = "{tile}/{part}"                 # optional; default: the image. "block:256 m": see `benchmark.data.blocks`
time = "{year}"                        # optional, as are date (ISO), clock (HH:MM), camera, x, y, z, id (all captured)
table = "manifest.csv"                 # optional CSV, relative to the root, whose first column identifies the images …
table_key = "{stem}"                   # … by this template (default: the file name without its ending)
exclude = ["2021_02_*"]                # optional: patterns on the image's path below the root, or on its name without
                                       # ending; say why in a comment
ignore = ["#9b9b9b"]                   # optional: colours (or values) in the mask that are no class
unknown_share = 0.001                  # optional: more other colours (or values) than this in one mask is an error

[[classes]]
name = "building"
color = "#3c1098"                      # with `value = 4` (or a list) masks hold values; without it, these colours
```

Several sources in one description are tables ``[[source]]``, each with a ``name`` and keys of its own, such as
``root`` (below the root above), ``image``, ``bands``, ``scale``, ``resolution`` (metres a pixel, where the files do not
say) and ``[[source.classes]]``; the keys above are then those of each source that lacks them. See
`benchmark.data.unions`.

A description may begin with ``base = "brunei"``, the name of one that landshift has; it then says only what differs.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.common.errors import DataError
from benchmark.common.files import leads_out
from benchmark.data import areas
from benchmark.data.blocks import read_blocks
from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.classes import ClassSet, PolygonKeys
from benchmark.data.description import check_settings, class_set, listed, polygon_keys, read_description, used_bands
from benchmark.data.drivers import by_areas
from benchmark.data.fields import read_clock, read_coordinate, read_date, read_time
from benchmark.data.georeference import Place, in_metres
from benchmark.data.layers import further_files, grid_under, windows_of_files
from benchmark.data.mosaics import joined
from benchmark.data.patches import rescaled_size, windows
from benchmark.data.polygons import check_polygons
from benchmark.data.raster import image_header
from benchmark.data.tables import DataTable, read_table
from benchmark.data.templates import Folders, Moment, fill, find, nfc, of_date, placeholders
from benchmark.data.unions import Found, Source, sources_of, united
from protocols.distances import ON_EARTH

_LOG = logging.getLogger(__name__)
MOST_WINDOWS = 1_000_000  # of one image


def read_folder(description: Path, root: Path | None = None) -> Catalog:
    """Find the patches that a description (see the module's text) names.

    Args:
        description: TOML file.
        root: folder that holds the data; default: the one that the description names.

    Returns:
        One row a window of each image, with id ``<captures>/r<row>_c<column>``; date, coordinates and the like are
        those of the whole image. Only headers are read.

    Raises:
        DataError: anything is missing, unknown or of the wrong kind in the description, or no file is found; the
            message names the TOML file, the key, its value and what is allowed.
    """
    settings = read_description(description)
    try:
        folder = root or description.parent / str(settings.get("root", "."))
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder.resolve()}, which is to hold the data ({'--data' if root else 'root'})"
            )
        if "source" in settings:
            sources = sources_of(settings)
            return united(sources, [_find_source(source, folder) for source in sources])
        check_settings(settings)
        return _find(settings, folder).catalog
    except DataError as error:
        raise DataError(f"{description}: {error}") from error
    except (OSError, ValueError, re.error, RecursionError, OverflowError) as error:
        # A template may make a path that no system has, a number none that Python has.
        raise DataError(f"{description}: {type(error).__name__}: {error}") from error


def _find_source(source: Source, base: Path) -> Found:
    try:
        return _find(source.settings, base / source.settings.get("root", "."))
    except DataError as error:
        raise DataError(f"source '{source.name}': {error}") from error


def _find(settings: Mapping[str, Any], root: Path) -> Found:
    """Return what is found of a checked description."""
    polygons, classes, bands = polygon_keys(settings), class_set(settings), used_bands(settings)
    rows, places, pieces = _rows(settings, root.resolve())
    if polygons:
        _check_polygons(rows, places, polygons, classes)
    patches, footprints = _placed(rows, places, settings)
    catalog = Catalog(
        name=settings["name"],
        classes=classes,
        bands=bands,
        patch_size=settings["patch_size"],
        patches=patches,
        scale=float(settings.get("scale", 1)),
        unknown_share=float(settings.get("unknown_share", 0.001)),
        file_bands=tuple(settings["bands"]) if bands != tuple(settings["bands"]) else (),
        footprints=footprints,
        pieces=pieces,
        polygons=polygons,
        files={row["image"]: row["files"] for row in rows if row["files"]},
    )
    return Found(catalog, dict(zip((row["id"] for row in rows), places, strict=True)))


def _placed(
    rows: list[dict[str, Any]], places: list[Place | None], settings: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the table, with x and y of the files where the description gives none, and the footprints in metres."""
    patches = pd.DataFrame(rows, columns=list(COLUMNS))
    located = [place for place in places if place is not None]
    metres = in_metres(*zip(*located, strict=True)) if located and len(located) == len(places) else None
    if metres is None:
        return patches, None
    if "x" not in settings and "y" not in settings:
        patches = patches.assign(x=metres.boxes[:, [0, 2]].mean(1), y=metres.boxes[:, [1, 3]].mean(1))
        if metres.lonlat is not None:
            patches[[*ON_EARTH]] = metres.lonlat
    return patches, pd.DataFrame(metres.footprints, patches["id"], columns=["west", "south", "east", "north"])


def _check_polygons(
    rows: list[dict[str, Any]], places: list[Place | None], keys: PolygonKeys, classes: ClassSet
) -> None:
    """Check each file of polygons once, with the places of its images."""
    images: dict[tuple[str, str], Place] = {}
    for row, place in zip(rows, places, strict=True):
        if not row["mask"]:
            continue
        if place is None:
            raise DataError(f"key 'mask': {row['image']} has no georeference, so polygons cannot be laid on it")
        (west, south, east, north), crs = place
        box, _ = images.setdefault((str(row["mask"]), str(row["image"])), place)
        box = min(west, box[0]), min(south, box[1]), max(east, box[2]), max(north, box[3])
        images[str(row["mask"]), str(row["image"])] = box, crs
    for mask in sorted({mask for mask, _ in images}):
        check_polygons(Path(mask), keys, classes, [place for (of, _), place in images.items() if of == mask])


def _rows(
    settings: Mapping[str, Any], root: Path
) -> tuple[list[dict[str, Any]], list[Place | None], dict[str, tuple[int, int]]]:
    """Return one row a window of each image, the place of its window, and the pieces of scenes."""
    blocks = read_blocks(settings.get("zone", ""))
    if blocks:
        settings = {**settings, "zone": blocks.of or settings["place"]}
    scale, size = settings.get("scale", 1), settings["patch_size"]
    rows: list[dict[str, Any]] = []
    places: list[Place | None] = []
    pieces: dict[str, tuple[int, int]] = {}
    empty, at_borders = 0, 0
    images = _images(settings, root)
    for path, image_row in images.items():
        (whole_height, whole_width), where = image_header(path)
        height, width = rescaled_size(whole_height, whole_width, scale)
        for file in (files := [path, *map(Path, image_row["files"])])[1:]:
            grid_under(file, path, (whole_height, whole_width), where)
        if (count := -(-height // size) * -(-width // size)) > MOST_WINDOWS:
            raise DataError(f"key 'patch_size': {size} cuts {path} into {count:,} patches, above {MOST_WINDOWS:,}")
        corners = windows(height, width, size)
        if whole_height * whole_width > areas.LARGE and by_areas(str(image_row["mask"])):
            whole, small, before = (whole_height, whole_width), (height, width), len(corners)
            corners, piece = windows_of_files(files, settings["bands"], whole, small, corners, size)
            pieces |= {str(path): piece} if piece else {}
            empty += before - len(corners)
        block_of = blocks and blocks.on(where, path)
        for row, column in corners:
            window: dict[str, Any] = {"id": f"{image_row['id']}/r{row}_c{column}", "row": row, "column": column}
            inside = min(size, height - row), min(size, width - column)
            box = where and where.box(row / scale, column / scale, inside[0] / scale, inside[1] / scale)
            if blocks and block_of:
                in_pixels = (column, row, column + inside[1], row + inside[0])
                block = block_of(box if blocks.in_metres and box else in_pixels)
                if block is None:
                    at_borders += 1
                    continue
                window["zone"] = f"{image_row['zone']}/{block}"
            rows.append(image_row | window)
            places.append((box, where.crs) if box and where else None)
    if at_borders:
        _LOG.warning("%s: %d windows are too near to the border of their block, and are left out", root, at_borders)
        domains = [dict.fromkeys((row["place"], row["time"]) for row in each) for each in (images.values(), rows)]
        if lost := [" in ".join(filter(None, domain)) for domain in domains[0] if domain not in domains[1]]:
            raise DataError(
                f"key 'zone': no window of {size} pixels of {', '.join(lost[:5])} is left; make blocks larger, or the "
                "buffer or patch_size smaller"
            )
    if empty:
        _LOG.warning("%s: %d windows of large images hold no data at all, and are left out", root, empty)
    return rows, places, pieces


def _images(settings: Mapping[str, Any], root: Path) -> dict[Path, dict[str, Any]]:
    """Return the columns that all windows of an image share, by its path; of a mosaic by that of its virtual raster."""
    templates = listed(settings["image"])
    captures = find(templates[0], settings.get("exclude", []), root)
    table = _table(settings, root)
    folders = Folders()
    if "mosaic" in settings:
        settings = {"zone": settings["mosaic"], **settings}
    images, mosaics = {}, {}
    for path, captured in captures.items():
        fields = captured | {"stem": nfc(path.stem)}
        if table is not None:
            key = fill("table_key", settings.get("table_key", "{stem}"), fields)
            if key not in table.rows:
                raise DataError(f"key 'table': {settings['table']} has no row '{key}' for {path}")
            fields = {**table.rows[key], **fields}
        row = _image_row(settings, fields, path, root, folders, table is not None and table.decimal_comma)
        images[path] = row | {"files": further_files(templates, captured, path, root, folders)}
        mosaics[path] = nfc(fill("mosaic", settings.get("mosaic", ""), fields))
    without_mask = [path for path, row in images.items() if not row["mask"]]
    if "mask" in settings and len(without_mask) == len(images):
        looked_for = root / fill("mask", settings["mask"], fields)
        raise DataError(f"key 'mask': not one of the {len(images)} images has its mask; looked for {looked_for}")
    if "mask" in settings and without_mask:
        count = f"{len(without_mask)} of {len(images)}"
        _LOG.warning("%s: %s images have no mask, such as %s", root, count, without_mask[0])
    return joined(images, mosaics) if "mosaic" in settings else images


def _table(settings: Mapping[str, Any], root: Path) -> DataTable | None:
    if "table" not in settings:
        return None
    try:
        return read_table(_within(root, settings["table"], "table"))
    except DataError as error:
        raise DataError(f"key 'table': {error}") from error


def _image_row(
    settings: Mapping[str, Any], fields: dict[str, str], path: Path, root: Path, folders: Folders, decimal_comma: bool
) -> dict[str, Any]:
    """Return the columns that all windows of an image share."""

    def text(key: str, default: str = "") -> str:
        return nfc(fill(key, settings.get(key, default), fields))

    dated = next((name for name, value in fields.items() if isinstance(value, Moment) and value.has_date), "")
    date = read_date(text("date", f"{{{dated}}}" if dated else ""), path)
    fields = (of_date(date) if date else {}) | fields
    name = "/".join(f"{{{each}}}" for each in placeholders("image", listed(settings["image"])[0])) or nfc(path.stem)
    masked = text("mask")
    mask = folders.real(root, masked) if masked else root
    if masked:
        _within(root, mask.relative_to(root).as_posix() if mask.is_relative_to(root) else masked, "mask")
    return {
        "id": text("id", name),
        "image": str(path),
        "mask": str(mask) if mask.is_file() else "",
        "place": text("place"),
        "time": read_time(text("time"), settings.get("time", ""), path),
        "zone": text("zone") if "zone" in settings else nfc(path.relative_to(root).as_posix()),
        "date": date,
        "clock": read_clock(text("clock"), path),
        "x": read_coordinate("x", text("x"), path, decimal_comma),
        "y": read_coordinate("y", text("y"), path, decimal_comma),
        "z": read_coordinate("z", text("z"), path, decimal_comma),
        "camera": text("camera"),
    }


def _within(root: Path, below: str, key: str) -> Path:
    """Return a path below the root: neither an absolute one, nor by ``..`` or a link one of another folder."""
    path = root / below
    if leads_out(path, root):
        raise DataError(f"key '{key}': {below} leads out of {root}; all but 'root' itself must be below the root")
    return path
