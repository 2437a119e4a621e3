"""Keys of a description of a folder (see `benchmark.data.folder`): which there are, and what each may hold."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.common.errors import DataError
from benchmark.common.files import DESCRIPTION_BYTES, read_text
from benchmark.common.texts import unfit
from benchmark.data.classes import POLYGONS, ClassSet, LandClass, PolygonKeys, color_value

DESCRIPTIONS = Path(__file__).parent / "descriptions"
_Check = tuple[str, Callable[[Any], bool]]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_value(value: object) -> bool:
    return _is_integer(value) or (value != [] and _list_of(_is_integer)(value))


def _is_below(value: object) -> bool:
    return isinstance(value, str) and value != "" and not {"/", ".."} & {*Path(value).parts}


def listed(value: Any) -> list[Any]:
    """Return a list as it is, and any other value as a list of one."""
    return value if isinstance(value, list) else [value]


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


_TEXT: _Check = ("a text that is not empty", _is_text)
_KEYS: dict[str, _Check] = {
    "name": _TEXT,
    "root": _TEXT,
    "bands": ("a list of names", _list_of(_is_text)),
    "use": (
        "a list of names of bands, or of their numbers from 1 on",
        lambda value: value != [] and _list_of(lambda item: _is_text(item) or _is_integer(item))(value),
    ),
    "patch_size": ("an integer of at least 1", lambda value: _is_integer(value) and value >= 1),
    "image": (
        "a path below the root, or a list of such",
        lambda value: value != [] and all(map(_is_below, listed(value))),
    ),
    "scale": ("a number above 0 and at most 1", lambda value: _is_number(value) and 0 < value <= 1),
    **dict.fromkeys(("mask", "id", "place", "time", "zone", "date", "clock", "x", "y", "z", "camera", "table"), _TEXT),
    "table_key": _TEXT,
    "exclude": ("a list of patterns", _list_of(_is_text)),
    **dict.fromkeys(("mask_field", "background", "mosaic"), _TEXT),
    "ignore": ("a list of colours or of values", _list_of(lambda value: _is_text(value) or _is_integer(value))),
    "base": _TEXT,
    "unknown_share": ("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    "resolution": ("a number of metres above 0", lambda value: _is_number(value) and value > 0),
    "source": ("a list of tables, each [[source]]", lambda value: value != [] and _list_of(_is_table)(value)),
    "classes": ("a list of tables, each [[classes]]", _list_of(_is_table)),
}
_REQUIRED = ("name", "bands", "patch_size", "image", "place", "classes")
_CLASS_KEYS: dict[str, _Check] = {
    "name": _TEXT,
    "color": ("a text like '#3c1098'", _is_text),
    "value": ("an integer or a list of them", _is_value),
    "french": _TEXT,
}
_CLASS_REQUIRED = ("name", "color")


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


def check_settings(settings: Mapping[str, Any], required: tuple[str, ...] = _REQUIRED) -> None:
    """Raise a `DataError` that names the first key of a description that is unknown, missing or of a wrong kind."""
    if "maximum" in settings:
        raise DataError("key 'maximum' is not needed any more: images of all types keep their numbers; remove it")
    _check_keys(settings, _KEYS, required)


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
    return [text for text in listed(value) if isinstance(text, str)]


def class_set(settings: Mapping[str, Any]) -> ClassSet:
    """Return the classes of a description.

    Raises:
        DataError: a class lacks a key or has a wrong one, or some have values and others colours alone.
    """
    tables: list[dict[str, Any]] = settings["classes"]
    for number, table in enumerate(tables, 1):
        _check_keys(table, _CLASS_KEYS, _CLASS_REQUIRED, where=f"classes, number {number}: ")
    with_value = [table["name"] for table in tables if "value" in table]
    if with_value and len(with_value) < len(tables):
        raise DataError(f"classes: only some have a 'value' ({', '.join(with_value)}); give it to all or to none")
    colors_in_mask = not with_value
    ignored = settings.get("ignore", []) if "mask_field" not in settings else []
    if any(_is_text(item) != colors_in_mask for item in ignored):
        kind = "colours" if colors_in_mask else "values"
        raise DataError(f"key 'ignore' must hold {kind} as the classes do, not {ignored}")
    classes = [LandClass(t["name"], t["color"].lower(), _mask_values(t), t.get("french", "")) for t in tables]
    ignored_values = tuple(color_value(item) if colors_in_mask else item for item in ignored)
    return ClassSet(settings["name"], tuple(classes), ignored_values, colors_in_mask)


def used_bands(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the bands that a description takes, of which it may give numbers.

    Raises:
        DataError: there is no band of a number.
    """
    bands = settings["bands"]
    numbers = [item for item in settings.get("use", []) if _is_integer(item)]
    if wrong := [number for number in numbers if not 1 <= number <= len(bands)]:
        raise DataError(f"key 'use': there is no band number {wrong[0]}, but 1 to {len(bands)}")
    return tuple(bands[item - 1] if _is_integer(item) else item for item in settings.get("use", bands))


def polygon_keys(settings: Mapping[str, Any]) -> PolygonKeys | None:
    """Return what a description says of masks that are polygons; None if its masks are images.

    Raises:
        DataError: a key is missing, is of no use, or names no class.
    """
    is_polygons = Path(settings.get("mask", "")).suffix.lower() in POLYGONS
    if not is_polygons:
        if unused := [key for key in ("mask_field", "background") if key in settings]:
            raise DataError(f"key '{unused[0]}' is for masks that are polygons ({', '.join(POLYGONS)})")
        return None
    if "mask_field" not in settings:
        raise DataError("key 'mask_field' is missing: the attribute of the polygons that holds the class")
    names = [each.name for each in class_set(settings).classes]
    if settings.get("background", names[0]) not in names:
        raise DataError(f"key 'background' must be one of {', '.join(names)}, not {settings['background']!r}")
    return PolygonKeys(
        settings["mask_field"], settings.get("background", ""), tuple(map(str, settings.get("ignore", [])))
    )


def _mask_values(table: Mapping[str, Any]) -> tuple[int, ...]:
    value = table.get("value", [color_value(table["color"])])
    return tuple(listed(value))
