"""Columns of GeoPackages without their geometry: a GeoPackage is a database of SQLite."""

import sqlite3
from contextlib import closing

import pandas as pd

from benchmark.common.errors import DataError
from benchmark.common.texts import unfit
from benchmark.data.archives import read_bytes


def read_columns(path: str, key: str, wanted: str) -> pd.DataFrame:
    """Return columns of a GeoPackage as texts, indexed by one of them; "" where a cell is empty.

    Args:
        path: path of the file, which may be in a zip archive.
        key: column by which the rows are named.
        wanted: how the names of the columns begin that are read.

    Raises:
        DataError: it is no GeoPackage, has no table with these columns, names a row twice, or holds no plain texts.
    """
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(read_bytes(path))
            # Of tables alone: the query of a view is the file's own, and may never end.
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                names = [row[1] for row in database.execute("SELECT * FROM pragma_table_info(?)", (table,))]
                columns = [name for name in names if name.startswith(wanted)]
                if key in names and columns:
                    chosen = ", ".join(map(_quoted, (key, *columns)))
                    rows = database.execute(f"SELECT {chosen} FROM {_quoted(table)}").fetchall()
                    return _texts(path, rows, key, columns)
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"{path}: no readable GeoPackage ({error})") from error
    raise DataError(f"{path}: no table has the columns {key} and {wanted}...")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _texts(path: str, rows: list[tuple[object, ...]], key: str, columns: list[str]) -> pd.DataFrame:
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = pd.DataFrame(texts, columns=[key, *columns]).set_index(key)
    if fault := unfit([*columns, *table.index, *(text for column in columns for text in table[column].unique())]):
        raise DataError(f"{path}: {fault}")
    if table.index.has_duplicates:
        raise DataError(f"{path}: the {key} {table.index[table.index.duplicated()][0]} is there twice")
    return table
