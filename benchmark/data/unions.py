"""Several sources in one description, each ``[[source]]``: what they have in common becomes one data set."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.common.errors import DataError
from benchmark.common.texts import unfit
from benchmark.data.catalog import Catalog
from benchmark.data.description import check_settings, class_set, listed, used_bands
from benchmark.data.georeference import Place, in_metres
from benchmark.data.raster import image_header
from protocols.distances import ON_EARTH

_LOG = logging.getLogger(__name__)
_MOST_UNLIKE = 1.2  # times the metres a pixel of another source


@dataclass(frozen=True)
class Source:
    """A source of a data set.

    Attributes:
        name: its ``name``, or its number from 1 on.
        settings: description of it alone, with the bands and classes that all sources have; pixels of its other classes
            are ignored.
        left_out: its bands and classes that not all sources have.
    """

    name: str
    settings: dict[str, Any]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A catalog as found by a description, and the place of each of its patches by id."""

    catalog: Catalog
    places: Mapping[str, Place | None]


def sources_of(settings: Mapping[str, Any]) -> list[Source]:
    """Return the sources of a description; its other keys are those of each source that does not have its own.

    Raises:
        DataError: a key is unknown, missing or of a wrong kind, or the sources have no band or no two classes in
            common, or patches of several sizes.
    """
    check_settings(settings, required=("name",))
    tables = settings["source"]
    names = [str(table.get("name", number)) for number, table in enumerate(tables, 1)]
    if len(set(names)) < len(names) or not all(names) or unfit(names):
        raise DataError(f"the names of the sources must be unlike texts, not {', '.join(names)}")
    shared = {key: value for key, value in settings.items() if key not in ("source", "root")}
    colors: dict[str, Any] = {}
    each = [_alone(name, shared, table, colors) for name, table in zip(names, tables, strict=True)]
    if len(sizes := {own["patch_size"] for own in each}) > 1:
        raise DataError(f"key 'patch_size' must be the same in all sources, not {', '.join(map(str, sorted(sizes)))}")
    bands = _common(names, [list(used_bands(own)) for own in each], "bands", 1)
    classes = _common(names, [[table["name"] for table in own["classes"]] for own in each], "classes", 2)
    return [_reduced(name, own, bands, classes) for name, own in zip(names, each, strict=True)]


def _alone(name: str, shared: Mapping[str, Any], table: Mapping[str, Any], colors: dict[str, Any]) -> dict[str, Any]:
    """Return the checked description of a source; a class takes the colour that it has in a source before."""
    if wrong := [key for key in ("base", "source") if key in table]:
        raise DataError(f"source '{name}': a source has no key '{wrong[0]}'")
    own = {**shared, **table, "name": shared["name"]}
    try:
        check_settings(own)
        coded = "mask_field" in own or any("value" in each for each in own["classes"])
        own["classes"] = [
            {"color": colors[each["name"]], **each} if coded and str(each.get("name")) in colors else each
            for each in own["classes"]
        ]
        class_set(own)
    except DataError as error:
        raise DataError(f"source '{name}': {error}") from error
    for each in own["classes"]:
        colors.setdefault(each["name"], each["color"])
    return own


def _common(names: Sequence[str], each: Sequence[list[str]], what: str, least: int) -> list[str]:
    """Return what all sources have, in the order of the first."""
    common = [item for item in each[0] if all(item in items for items in each)]
    if len(common) < least:
        own = "; ".join(f"{name} has {', '.join(items)}" for name, items in zip(names, each, strict=True))
        raise DataError(
            f"the sources have {', '.join(common) or 'none'} of their {what} in common, {least} or more are needed: "
            f"{own}. Give what is the same the same name"
        )
    return common


def _reduced(name: str, own: dict[str, Any], bands: list[str], classes: list[str]) -> Source:
    tables = {table["name"]: table for table in own["classes"]}
    others = [table for each, table in tables.items() if each not in classes]
    ignored = list(own.get("ignore", []))
    for table in others:
        ignored += listed(table.get("value", table["color"]))
        if "mask_field" in own:
            ignored.append(table["name"])
    settings = own | {"use": bands, "classes": [tables[each] for each in classes], "ignore": ignored}
    if settings.get("background") not in classes:
        settings.pop("background", None)
    left_out = [band for band in used_bands(own) if band not in bands] + [table["name"] for table in others]
    return Source(name, settings, tuple(left_out))


def united(sources: Sequence[Source], found: Sequence[Found]) -> Catalog:
    """Return the catalog of all patches of the sources, with the name of the source before each id.

    Raises:
        DataError: the sources differ by more than a fifth in metres a pixel, or share an image.
    """
    catalogs = [each.catalog for each in found]
    first = catalogs[0]
    _check_pixels(first.name, sources, catalogs)
    if left_out := [f"{', '.join(source.left_out)} of {source.name}" for source in sources if source.left_out]:
        _LOG.warning(
            "%s: bands and classes that not all sources have are left out, and pixels of these classes ignored: %s",
            *(first.name, "; ".join(left_out)),
        )
    members: dict[str, Catalog] = {}
    tables: list[pd.DataFrame] = []
    places: list[Place | None] = []
    own_places: list[bool] = []
    for source, each, catalog in zip(sources, found, catalogs, strict=True):
        table = catalog.patches.drop(columns=[*ON_EARTH], errors="ignore")  # of all in one way, below
        if twice := sorted(set(table["image"]) & set(members)):
            raise DataError(f"source '{source.name}': {twice[0]} is an image of another source too")
        members |= dict.fromkeys(table["image"], catalog)
        places += [None if catalog.footprints is None else each.places[patch] for patch in table["id"]]
        own_places += [bool({"x", "y"} & set(source.settings))] * len(table)
        # The default zone, a path below the root, may be in several roots.
        zone = table["zone"] if "zone" in source.settings else f"{source.name}/" + table["zone"]
        tables.append(table.assign(id=f"{source.name}/" + table["id"], zone=zone))
    patches, footprints = _placed(pd.concat(tables, ignore_index=True), places, np.array(own_places))
    return Catalog(
        name=first.name,
        classes=first.classes,
        bands=first.bands,
        patch_size=first.patch_size,
        patches=patches,
        footprints=footprints,
        pieces={path: piece for catalog in catalogs for path, piece in catalog.pieces.items()},
        files={path: files for catalog in catalogs for path, files in catalog.files.items()},
        members=members,
    )


def _placed(
    patches: pd.DataFrame, places: Sequence[Place | None], own: NDArray[np.bool_]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the table with x and y in one plane, but where a source gives its own, and the footprints in metres."""
    known = np.array([place is not None for place in places])
    located = [place for place in places if place is not None]
    metres = in_metres(*zip(*located, strict=True)) if located else None
    if metres is None:
        return patches, None
    boxes = np.full((len(patches), 4), np.nan)
    boxes[known] = metres.boxes
    for column, sides in (("x", [0, 2]), ("y", [1, 3])):
        patches[column] = patches[column].where(own | ~known, boxes[:, sides].mean(1))
    boxes[known] = metres.footprints
    if metres.lonlat is not None and known.all() and not own.any():
        patches[[*ON_EARTH]] = metres.lonlat
    return patches, pd.DataFrame(boxes, patches["id"], columns=["west", "south", "east", "north"])


def _check_pixels(name: str, sources: Sequence[Source], catalogs: Sequence[Catalog]) -> None:
    """Refuse sources of unlike metres a pixel, by the first image of each."""
    sizes = {source.name: _metres_a_pixel(source, each) for source, each in zip(sources, catalogs, strict=True)}
    if unknown := [source for source, size in sizes.items() if size is None]:
        _LOG.warning(
            "%s: the metres a pixel of %s are not known and so not compared: the files have no georeference; say "
            "resolution = 0.3 in their [[source]]",
            *(name, ", ".join(unknown)),
        )
    known = {source: size for source, size in sizes.items() if size is not None}
    coarsest = max(known, key=lambda source: known[source], default="")
    for source in sources:
        if source.name in known and known[coarsest] > _MOST_UNLIKE * known[source.name]:
            scale = source.settings.get("scale", 1) * known[source.name] / known[coarsest]
            raise DataError(
                f"source '{source.name}': has {known[source.name]:.3g} m a pixel, but '{coarsest}' "
                f"{known[coarsest]:.3g} m; give '{source.name}' scale = {scale:.3g}"
            )


def _metres_a_pixel(source: Source, catalog: Catalog) -> float | None:
    """Return the side of a pixel, after `scale`, from the first image, or else from `resolution`."""
    (height, width), where = image_header(Path(catalog.patches["image"].iloc[0]))
    box = in_metres([where.box(0, 0, height, width)], [where.crs]) if where else None
    size = source.settings.get("resolution") if box is None else float(box.boxes[0, 2] - box.boxes[0, 0]) / width
    return None if size is None else size / float(source.settings.get("scale", 1))
