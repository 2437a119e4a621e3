"""Files that appear when they are whole, tables and layers among them."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmark.common.errors import DataError

Row = Mapping[str, str | int | float]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the path of a file to be written, ``name.part.ending``, and move it to its place if no error came."""
    half = path.with_name(f"{path.stem}.part{path.suffix}")
    half.unlink(missing_ok=True)
    yield half
    half.replace(path)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows of the same columns; numbers have twelve digits, what is not known is empty."""
    with whole_file(path) as half, half.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def write_layer(
    path: Path,
    layer: str,
    fields: Mapping[str, NDArray[Any]],
    shapes: NDArray[Any] | None = None,
    kind: str | None = None,
    crs: str | None = None,
    append: bool = False,
) -> None:
    """Write a layer of a GeoPackage.

    Args:
        fields: attributes by name.
        shapes, kind: shapes as WKB, and their kind; None for a table without any.
        append: add to the layer of that name.

    Raises:
        DataError: it cannot be written.
    """
    import pyogrio  # brings a GDAL of its own

    try:
        pyogrio.raw.write(
            path,
            geometry=shapes,
            field_data=list(fields.values()),
            fields=list(fields),
            layer=layer,
            driver="GPKG",
            geometry_type=kind,
            crs=crs,
            append=append,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise DataError(f"{path}: cannot be written: {error}") from error


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.12g}" if math.isfinite(value) else ""
    return str(value)
