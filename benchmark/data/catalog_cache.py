"""Cache of the tables of large catalogs beside the stores, so that the next process need not walk 155,000 files."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from stat import S_ISDIR

import pandas as pd
from pyarrow.feather import read_table

from benchmark.common.files import read_text

_LOG = logging.getLogger(__name__)

FOLDER = Path(".landshift/catalogs")
LARGE = 10_000  # rows; a smaller table is made as fast as it is found to be still right
FORMAT = 1

Stamp = tuple[int, int]
"""Size in bytes, 0 for a folder, and time of change in nanoseconds."""

Made = tuple[pd.DataFrame, int, dict[str, Stamp]]
"""A table of patches, the patch size, and what they depend on: folders, archives and metadata files, stamped before
they were read."""


def stamp(path: str) -> Stamp:
    """Return a value that differs once a file, or what a folder holds, has changed."""
    status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat
    return (0 if S_ISDIR(status.st_mode) else status.st_size), status.st_mtime_ns


def cached(settings: object, make: Callable[[], Made]) -> tuple[pd.DataFrame, int]:
    """Return the table and patch size that ``make`` gives, from the cache where nothing they depend on has changed.

    A folder changes when a file in it comes, goes or is renamed. The content of an image is not looked at; the store
    does that.

    Args:
        settings: further settings that the table depends on.
        make: function that makes the table.
    """
    place = FOLDER / hashlib.sha256(repr((FORMAT, settings)).encode()).hexdigest()[:16]
    table, summary = place.with_suffix(".feather"), place.with_suffix(".json")
    kept = _read(table, summary) if summary.is_file() else None
    if kept is not None:
        return kept
    patches, size, stamps = make()
    if len(patches) >= LARGE:
        _write(table, summary, patches, {"patch_size": size, "stamps": stamps})
    return patches, size


def _read(table: Path, summary: Path) -> tuple[pd.DataFrame, int] | None:
    """Return what is kept; None where something has changed since, or what is kept is damaged."""
    try:
        content = json.loads(read_text(summary))
        if any(tuple(before) != stamp(path) for path, before in content["stamps"].items()):
            return None
        read_table(table).validate(full=True)  # of a damaged file Arrow would read memory that is none of it
        return pd.read_feather(table), int(content["patch_size"])
    except Exception as error:  # Arrow has a dozen kinds of its own
        _LOG.info("%s is not taken, the catalog is made again: %r", summary, error)
        return None


def _write(table: Path, summary: Path, patches: pd.DataFrame, content: dict[str, object]) -> None:
    """Move each file to its place when whole, the summary last; a folder that cannot be written costs time only."""
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as half:
            patches.to_feather(Path(half, table.name), compression="uncompressed")
            Path(half, summary.name).write_text(json.dumps(content), encoding="utf-8")
            summary.unlink(missing_ok=True)
            Path(half, table.name).replace(table)
            Path(half, summary.name).replace(summary)
    except OSError as error:
        _LOG.warning("the catalog cannot be kept, and will be made again each time: %s", error)
