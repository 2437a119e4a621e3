"""Classes of unknown polygons, guessed from the attributes of a few files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.common.errors import DataError
from benchmark.data.class_guess import MANY, ClassGuess, ClassGuesses, spread, two_unlike
from benchmark.data.polygons import only_layer, readable

MOST_FILES = 20  # whose attributes are read
_NAMES = ("class", "label", "landcover", "land_cover", "landuse", "land_use", "cover", "category", "type", "code")


def guess_attribute(root: Path, files: Sequence[str]) -> tuple[str, ClassGuesses]:
    """Return the attribute of polygons that holds the class, and the classes: texts are names, integers values."""
    found: dict[str, Counter[str | int]] = {}
    remarks = []
    for below in spread(files, MOST_FILES):
        try:
            for field, values in _attributes(root / below).items():
                found[field] = found.get(field, Counter()) + values
        except DataError as error:
            remarks.append(str(error))
    fitting = {field: values for field, values in found.items() if 1 < len(values) <= MANY}
    if not fitting:
        known = ", ".join(found) or "none"
        remarks.append(
            f"no attribute of the polygons holds 2 to {MANY} classes; there are {known}: correct 'mask_field'"
        )
        return next(iter(found), "class"), ClassGuesses(two_unlike([], colored=False), remarks=remarks)
    field = min(
        fitting, key=lambda name: (_NAMES.index(name.lower()) if name.lower() in _NAMES else 99, len(fitting[name]))
    )
    others = [f"{name} ({len(values)} values)" for name, values in fitting.items() if name != field]
    if others:
        remarks.append(f"'{field}' is taken for the class of the polygons; it could also be {', '.join(others)}")
    classes = [
        ClassGuess(
            f"class_{value}" if isinstance(value, int) else value, "", None, value if isinstance(value, int) else None
        )
        for value in sorted(fitting[field], key=str)
    ]
    return field, ClassGuesses(
        two_unlike(classes, colored=not isinstance(next(iter(fitting[field])), int)), remarks=remarks
    )


def _attributes(path: Path) -> dict[str, "Counter[str | int]"]:
    """Return how often each value of each attribute of texts or integers occurs; one with too many is left out."""
    with readable(path):
        import pyogrio

        about, _, _, columns = pyogrio.raw.read(path, layer=only_layer(path), read_geometry=False)
    values = {}
    for name, column in zip(about["fields"], columns, strict=True):
        kinds = {type(value) for value in column.tolist() if value is not None}
        if kinds in ({str}, {int}) and len(unique := np.unique([v for v in column.tolist() if v is not None])) <= MANY:
            counted = Counter(column.tolist())
            values[str(name)] = Counter({value: counted[value] for value in unique.tolist()})
    return values
