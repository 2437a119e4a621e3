"""Folders of a user's own images and masks as catalogs, each described by one small TOML file.

```toml
name = "dubai"
root = "."                             # relative to this file
bands = ["red", "green", "blue"]
use = ["green", "red"]                 # optional: only these of the bands, in this order
patch_size = 128
scale = 0.5                            # optional: shrink images and masks when reading them
maximum = 10000                        # optional, for 16-bit images: the value that becomes 255
image = "{tile}/images/{part}.jpg"     # captures parts of names; {year:4}, {date:%Y%m%d} and {part:[a-z]+} say what
mask = "{tile}/masks/{part}.png"       # optional; images whose mask does not exist have none
place = "{tile}"                       # a template over what was captured, {stem}, and the columns of the table
zone = "{tile}/{part}"                 # optional; default: the image
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

A description may begin with ``base = "brunei"``, the name of one that landshift has; it then says only what differs.
"""

import logging
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.common.errors import DataError
from benchmark.common.files import DESCRIPTION_BYTES, leads_out, read_text
from benchmark.common.texts import unfit
from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.classes import ClassSet, LandClass, color_value
from benchmark.data.fields import read_clock, read_coordinate, read_date, read_time
from benchmark.data.georeference import Place, in_metres
from benchmark.data.patches import rescaled_size, windows
from benchmark.data.raster import image_header
from benchmark.data.tables import DataTable, read_table
from benchmark.data.templates import Folders, Moment, fill, find, nfc, of_date, placeholders

_LOG = logging.getLogger(__name__)
DESCRIPTIONS = Path(__file__).parent / "descriptions"
MOST_WINDOWS = 100_000  # of one image
_Check = tuple[str, Callable[[Any], bool]]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_value(value: object) -> bool:
    return _is_integer(value) or (value != [] and _list_of(_is_integer)(value))


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


_TEXT: _Check = ("a text that is not empty", _is_text)
_KEYS: dict[str, _Check] = {
    "name": _TEXT,
    "root": _TEXT,
    "bands": ("a list of names", _list_of(_is_text)),
    "use": ("a list of names of bands", lambda value: value != [] and _list_of(_is_text)(value)),
    "patch_size": ("an integer of at least 1", lambda value: _is_integer(value) and value >= 1),
    "image": ("a path below the root", lambda value: _is_text(value) and not {"/", ".."} & {*Path(value).parts}),
    "scale": ("a number above 0 and at most 1", lambda value: _is_number(value) and 0 < value <= 1),
    "maximum": ("an integer from 1 to 65535", lambda value: _is_integer(value) and 1 <= value <= 65535),
    **dict.fromkeys(("mask", "id", "place", "time", "zone", "date", "clock", "x", "y", "z", "camera", "table"), _TEXT),
    "table_key": _TEXT,
    "exclude": ("a list of patterns", _list_of(_is_text)),
    "ignore": ("a list of colours or of values", _list_of(lambda value: _is_text(value) or _is_integer(value))),
    "base": _TEXT,
    "unknown_share": ("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    "classes": ("a list of tables, each [[classes]]", _list_of(lambda value: isinstance(value, dict))),
}
_REQUIRED = ("name", "bands", "patch_size", "image", "place", "classes")
_CLASS_KEYS: dict[str, _Check] = {
    "name": _TEXT,
    "color": ("a text like '#3c1098'", _is_text),
    "value": ("an integer or a list of them", _is_value),
    "french": _TEXT,
}
_CLASS_REQUIRED = ("name", "color")


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
        _check_keys(settings, _KEYS, _REQUIRED)
        folder = (root or description.parent / settings.get("root", ".")).resolve()
        patches, footprints = _placed(*_rows(settings, folder), settings)
        return Catalog(
            name=settings["name"],
            classes=_class_set(settings),
            bands=tuple(settings.get("use", settings["bands"])),
            patch_size=settings["patch_size"],
            patches=patches,
            scale=float(settings.get("scale", 1)),
            unknown_share=float(settings.get("unknown_share", 0.001)),
            maximum=settings.get("maximum", 255),
            file_bands=tuple(settings["bands"]) if settings.get("use", settings["bands"]) != settings["bands"] else (),
            footprints=footprints,
        )
    except DataError as error:
        raise DataError(f"{description}: {error}") from error
    except (OSError, ValueError, re.error, RecursionError, OverflowError) as error:
        # A template may make a path that no system has, a number none that Python has.
        raise DataError(f"{description}: {type(error).__name__}: {error}") from error


def read_description(file: Path) -> dict[str, Any]:
    """Return the keys of a description, beside those of its base; nothing is checked but the base's name.

    Raises:
        DataError: it is no TOML, or its base is none of landshift's own descriptions.
    """
    settings = _read_toml(file)
    if "base" not in settings:
        return settings
    bases = {path.stem: path for path in sorted(DESCRIPTIONS.glob("*.toml"))}
    if not isinstance(settings["base"], str) or settings["base"] not in bases:
        raise DataError(f"{file}: key 'base' must be one of {', '.join(bases)}, not {settings['base']!r}")
    return _read_toml(bases[settings["base"]]) | settings


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file, DESCRIPTION_BYTES))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: no readable TOML ({error})") from error
    except RecursionError:
        raise DataError(f"{file}: no readable TOML (nested too deeply)") from None


def _check_keys(
    table: Mapping[str, Any], checks: Mapping[str, _Check], required: tuple[str, ...], where: str = ""
) -> None:
    if unknown := [key for key in table if key not in checks]:
        raise DataError(f"{where}unknown key '{unknown[0]}'; allowed are {', '.join(checks)}")
    if missing := [key for key in required if key not in table]:
        raise DataError(f"{where}key '{missing[0]}' is missing")
    for key, value in table.items():
        expected, check = checks[key]
        if not check(value):
            value = value if len(repr(value)) <= 200 else f"{repr(value)[:200]}..."
            raise DataError(f"{where}key '{key}' must be {expected}, not {value!r}")
        if fault := unfit(_texts(value)):
            raise DataError(f"{where}key '{key}': {fault}")


def _texts(value: object) -> list[str]:
    """Return the texts of a value that is one, or a list of some."""
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _class_set(settings: Mapping[str, Any]) -> ClassSet:
    tables: list[dict[str, Any]] = settings["classes"]
    for number, table in enumerate(tables, 1):
        _check_keys(table, _CLASS_KEYS, _CLASS_REQUIRED, where=f"classes, number {number}: ")
    with_value = [table["name"] for table in tables if "value" in table]
    if with_value and len(with_value) < len(tables):
        raise DataError(f"classes: only some have a 'value' ({', '.join(with_value)}); give it to all or to none")
    colors_in_mask = not with_value
    ignored = settings.get("ignore", [])
    if any(_is_text(item) != colors_in_mask for item in ignored):
        kind = "colours" if colors_in_mask else "values"
        raise DataError(f"key 'ignore' must hold {kind} as the classes do, not {ignored}")
    classes = [LandClass(t["name"], t["color"].lower(), _mask_values(t), t.get("french", "")) for t in tables]
    ignored_values = tuple(color_value(item) if colors_in_mask else item for item in ignored)
    return ClassSet(settings["name"], tuple(classes), ignored_values, colors_in_mask)


def _mask_values(table: Mapping[str, Any]) -> tuple[int, ...]:
    value = table.get("value", [color_value(table["color"])])
    return tuple(value) if isinstance(value, list) else (value,)


def _placed(
    rows: list[dict[str, object]], places: list[Place | None], settings: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the table, with x and y of the files where the description gives none, and the footprints in metres."""
    patches = pd.DataFrame(rows, columns=list(COLUMNS))
    located = [place for place in places if place is not None]
    boxes = in_metres(*zip(*located, strict=True)) if located and len(located) == len(places) else None
    if boxes is None:
        return patches, None
    if "x" not in settings and "y" not in settings:
        patches = patches.assign(x=boxes[:, [0, 2]].mean(1), y=boxes[:, [1, 3]].mean(1))
    return patches, pd.DataFrame(boxes, patches["id"], columns=["west", "south", "east", "north"])


def _rows(settings: Mapping[str, Any], root: Path) -> tuple[list[dict[str, object]], list[Place | None]]:
    """Return one row a window of each image, and the place of its window."""
    captures = find(settings["image"], settings.get("exclude", []), root)
    table = _table(settings, root)
    folders = Folders()
    scale = settings.get("scale", 1)
    rows: list[dict[str, object]] = []
    places: list[Place | None] = []
    without_mask = []
    for path, captured in captures.items():
        fields = captured | {"stem": nfc(path.stem)}
        if table is not None:
            key = fill("table_key", settings.get("table_key", "{stem}"), fields)
            if key not in table.rows:
                raise DataError(f"key 'table': {settings['table']} has no row '{key}' for {path}")
            fields = {**table.rows[key], **fields}
        image_row = _image_row(settings, fields, path, root, folders, table is not None and table.decimal_comma)
        if not image_row["mask"]:
            without_mask.append(path)
        (whole_height, whole_width), where = image_header(path)
        height, width = rescaled_size(whole_height, whole_width, scale)
        size = settings["patch_size"]
        if (count := -(-height // size) * -(-width // size)) > MOST_WINDOWS:
            raise DataError(f"key 'patch_size': {size} cuts {path} into {count:,} patches, above {MOST_WINDOWS:,}")
        for row, column in windows(height, width, size):
            window = {"id": f"{image_row['id']}/r{row}_c{column}", "row": row, "column": column}
            rows.append(image_row | window)
            inside = min(size, height - row) / scale, min(size, width - column) / scale
            box = where and where.box(row / scale, column / scale, *inside)
            places.append((box, where.crs) if box and where else None)
    if "mask" in settings and len(without_mask) == len(captures):
        looked_for = root / fill("mask", settings["mask"], fields)
        raise DataError(f"key 'mask': not one of the {len(captures)} images has its mask; looked for {looked_for}")
    if "mask" in settings and without_mask:
        count = f"{len(without_mask)} of {len(captures)}"
        _LOG.warning("%s: %s images have no mask, such as %s", root, count, without_mask[0])
    return rows, places


def _table(settings: Mapping[str, Any], root: Path) -> DataTable | None:
    if "table" not in settings:
        return None
    try:
        return read_table(_within(root, settings["table"], "table"))
    except DataError as error:
        raise DataError(f"key 'table': {error}") from error


def _image_row(
    settings: Mapping[str, Any], fields: dict[str, str], path: Path, root: Path, folders: Folders, decimal_comma: bool
) -> dict[str, object]:
    """Return the columns that all windows of an image share."""

    def text(key: str, default: str = "") -> str:
        return nfc(fill(key, settings.get(key, default), fields))

    dated = next((name for name, value in fields.items() if isinstance(value, Moment) and value.has_date), "")
    date = read_date(text("date", f"{{{dated}}}" if dated else ""), path)
    fields = (of_date(date) if date else {}) | fields
    name = "/".join(f"{{{each}}}" for each in placeholders("image", settings["image"])) or nfc(path.stem)
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
