"""The columns that a protocol can hold out: those of the catalog, what follows from dates, and what tables say of them.

A table is a CSV file whose first column names a column of the catalog (``place``, ``camera``) or ``month``; its further
columns become columns of every patch: the region of a department, the season of a month. A data set may have columns of
its own, as published splits are; a protocol names those that it reads (``columns``).
"""

import csv
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.base import NamedFold, Protocol, ProtocolError, Selector

if TYPE_CHECKING:
    import pandas as pd  # half a second, which who only reads a protocol's text can do without

MOST_BYTES = 64 << 20
PLAIN = ("place", "time", "domain", "camera")  # what a catalog itself offers; the domain is "D017@2018"
DATED = ("month", "season", "year")  # what follows from the date: "01" to "12", "dec-feb" to "sep-nov", "2021"
_SEASONS = ("dec-feb", "mar-may", "jun-aug", "sep-nov")


def known_columns(tables: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the names that a protocol with these tables can hold out or select by."""
    own = tuple(column for table in tables for column in read_table(table)[0][1:])
    return PLAIN + tuple(name for name in DATED if name not in own) + own


def add_columns(protocol: Protocol, patches: "pd.DataFrame") -> "pd.DataFrame":
    """Return the patches with month, season and year of their dates and the columns of the protocol's tables, or "".

    A table may have seasons of its own.

    Raises:
        ProtocolError: a patch has a value that a table does not list; or the data set lacks a column of its own that
            the protocol reads; if it is partial, all of them.
    """
    lacking = [name for name in protocol.columns if name not in patches]
    if lacking and not (protocol.partial and len(lacking) < len(protocol.columns)):
        like = [name for name in patches.columns.astype(str) if name.startswith(lacking[0].partition("_")[0])]
        raise ProtocolError(
            f"{protocol.label} selects by {', '.join(lacking)}, which no file of this data set gives; it has "
            + (", ".join(like) or "none like it")
        )
    patches = patches.assign(**dict.fromkeys(lacking, ""))
    if {"place", "time"} <= set(patches):
        place, time = patches["place"], patches["time"]
        patches = patches.assign(domain=place.where(time == "", place + "@" + time))
    patches = patches.assign(**{name: "" for name in ("date", "camera") if name not in patches})
    month = patches["date"].str[5:7]
    patches = patches.assign(month=month)
    own = {name for path in protocol.tables for name in read_table(path)[0][1:]}
    derived = {"season": month.map(_season), "year": patches["date"].str[:4]}
    patches = patches.assign(**{name: values for name, values in derived.items() if name not in own})
    texts = patches.select_dtypes(exclude="number").columns
    patches = patches.astype(dict.fromkeys(texts, object))  # walking over 77,412 Arrow strings takes a second each time
    for path in protocol.tables:
        header, rows = read_table(path)
        key = header[0]
        unlisted = sorted(set(patches[key]) - {row[0] for row in rows} - {""})
        new = [name for name in header[1:] if name not in patches]
        if unlisted and _asked(protocol, new):
            raise ProtocolError(
                f"{protocol.label}: {path.name} does not list the {key} {', '.join(unlisted[:5])}, "
                f"which {int(patches[key].isin(unlisted).sum())} patches have"
            )
        for name in new:
            values = {row[0]: row[header.index(name)] for row in rows}
            patches = patches.assign(**{name: patches[key].map(values).fillna("")})
    return patches


def _season(month: str) -> str:
    return _SEASONS[int(month) % 12 // 3] if month else ""


def missing_patches(protocol: Protocol, patches: "pd.DataFrame") -> list[str]:
    """Return what the protocol names and the catalog does not hold, as "place D004: 12 of 1800 patches".

    It names the values that its folds select by, and the first column of each table with a column ``patches``: how many
    there are on the whole data set, empty if unknown.
    """
    expected: dict[tuple[str, str], int] = {}
    for fold in protocol.named_folds:
        for column, values in [pair for selector in selectors(fold) for pair in selector.items()]:
            expected |= {(column, value): 1 for value in values}
    for path in protocol.tables:
        header, rows = read_table(path)
        if "patches" in header:
            expected |= {(header[0], row[0]): int(row[header.index("patches")] or 1) for row in rows}
    counts = {column: patches[column].value_counts() for column, _ in expected}
    missing = []
    for (column, value), least in expected.items():
        count = int(counts[column].get(value, 0))
        if count < least:
            missing.append(f"{column} {value}: {count} of {least} patches" if least > 1 else f"{column} {value}")
    return missing


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of a table.

    Raises:
        ProtocolError: there is no such file, it is no table, or its first column is nothing a patch has.
    """
    try:
        if path.stat().st_size > MOST_BYTES or not path.is_file():
            raise ProtocolError(f"{path} is no file of at most {MOST_BYTES >> 20} MiB")
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))
        header, *rows = [row for row in csv.reader(text.splitlines()) if row]
    except ProtocolError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise ProtocolError(f"{path} is no readable table (CSV with a header): {error}") from error
    if header[0] not in PLAIN + DATED:
        raise ProtocolError(f"{path}: the first column must be one of {', '.join(PLAIN + DATED)}, not {header[0]}")
    ragged = [row for row in rows if len(row) != len(header)]
    if ragged or len({row[0] for row in rows}) < len(rows):
        wrong = f"the row {ragged[0]} has not {len(header)} cells" if ragged else "a first cell occurs twice"
        raise ProtocolError(f"{path}: {wrong}")
    return header, rows


def selectors(fold: NamedFold) -> tuple[Selector, ...]:
    """Return all that a fold selects by."""
    return fold.target, fold.target_adapt, fold.source, fold.source_val


def _asked(protocol: Protocol, names: list[str]) -> bool:
    """Return whether the protocol holds out or selects by one of these columns."""
    selected = {column for fold in protocol.named_folds for selector in selectors(fold) for column in selector}
    return bool(set(names) & {*protocol.hold_out, *selected})
