"""Tables of metadata as spreadsheets write them: several separators, encodings and ways to write a number."""

import codecs
import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.common.errors import DataError
from benchmark.common.files import TEXT_BYTES, read_regular
from benchmark.data.templates import nfc

_SEPARATORS = ",;\t"
_LOOKED_AT = 50  # lines, to find the separator
_WIDE = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class DataTable:
    """Table by its first column.

    Attributes:
        rows: cells as text, by the first cell of the row; pandas would read the year code 2018_01 as the number 201801.
        decimal_comma: whether a number may be written 3,5: the separator is no comma.
    """

    rows: Mapping[str, Mapping[str, str]]
    decimal_comma: bool


def read_table(path: Path) -> DataTable:
    """Read a CSV file whose separator is a comma, a semicolon or a tab, in UTF-8 or, if it says so, UTF-16.

    Raises:
        DataError: it cannot be read, is in another encoding, has rows of unlike length, or several of one key.
    """
    text = decoded(path, read_text_bytes(path))
    try:
        separator = _separator(text)
        lines = [[nfc(cell.strip()) for cell in line] for line in csv.reader(text.splitlines(), delimiter=separator)]
    except csv.Error as error:
        raise DataError(f"{path} is no readable CSV ({error})") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if any(line)]
    if not numbered:
        raise DataError(f"{path} is no readable CSV (it is empty)")
    header = numbered[0][1]
    while len(header) > 1 and not header[-1]:
        header = header[:-1]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataError(f"{path} has several columns '{twice[0]}'; rename one")
    rows: dict[str, dict[str, str]] = {}
    for number, line in numbered[1:]:
        if len(line) < len(header) or any(line[len(header) :]):
            raise DataError(f"{path}, line {number}: has {len(line)} cells where the first line has {len(header)}")
        if line[0] in rows:
            raise DataError(f"{path} has several rows '{line[0]}'; keep one of them")
        rows[line[0]] = dict(zip(header, line, strict=False))
    return DataTable(rows, separator != ",")


def read_text_bytes(path: Path) -> bytes:
    """Return the bytes of a text file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return read_regular(path, TEXT_BYTES)
    except OSError as error:
        raise DataError(f"{path} is no readable CSV ({error.strerror or error})") from error


def decoded(path: object, content: bytes) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 where it begins with the mark of it.

    Raises:
        DataError: it is in another encoding; guessing would change names in silence.
    """
    encoding = next((name for mark, name in _WIDE if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} holds the byte {content[error.start]:#04x}, no {encoding.upper()}; save it as UTF-8"
        ) from error


def number(text: str, *, decimal_comma: bool) -> float:
    """Return a number as people write it; NaN for an empty text.

    Raises:
        ValueError: it is none, or infinite.
    """
    if not text:
        return math.nan
    if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _separator(text: str) -> str:
    """Return the separator that cuts all lines into equally many cells, else the one that the first line has most."""
    lines = [line for line in text.splitlines()[:_LOOKED_AT] if line.strip()]
    for separator in _SEPARATORS:
        lengths = {len(line) for line in csv.reader(lines, delimiter=separator)}
        if len(lengths) == 1 and lengths != {1}:
            return separator
    counts = {separator: lines[0].count(separator) if lines else 0 for separator in _SEPARATORS}
    return max(_SEPARATORS, key=lambda separator: counts[separator])
