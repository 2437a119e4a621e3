"""Files of FLAIR, unpacked or in the zip archives they are published in, and its metadata."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.common.errors import DataError
from benchmark.common.files import TEXT_BYTES, leads_out, parse_json
from benchmark.data.archives import members, read_bytes, source_file
from benchmark.data.catalog_cache import Stamp, stamp
from benchmark.data.tables import decoded
from benchmark.data.templates import is_hidden

_READ = (".tif", ".json", ".zip", ".gpkg")
_OUTSIDE = "is a link that leads out of the data set's folder; name the folder that holds all of it, or copy the files"
_DOMAIN = re.compile(r"(?<=[\\/])D\d{3}_\d{4}(?=[\\/]|\.zip!/)")
_ZONE = re.compile(r"(?<=[\\/])Z\d+_[A-Z]{2}(?=[\\/])")


@dataclass(frozen=True)
class FlairFiles:
    """FLAIR's files below a folder, by their number. Paths stay texts: 155,000 `Path` objects take long.

    Attributes:
        images, masks: path by number, both as text: "000826".
        twice: paths of further files with a number that was there already.
        metadata: paths of JSON files, in the order in which they are read.
        unreadable: messages about the archives that cannot be read.
        hidden: paths of files that would be FLAIR's, but for a dot before their name or a folder that a system made.
        stamps: stamps of the folders, archives and metadata, each taken before it was read.
    """

    images: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)


def find_files(root: Path) -> FlairFiles:
    """Walk a folder, and the zip archives in it."""
    files = FlairFiles()
    for path in walk(root, files):
        name = path[max(path.rfind("/"), path.rfind(os.sep)) + 1 :]
        if name[0] == "." or "/__MACOSX/" in path:
            if name.lower().endswith(_READ):
                files.hidden.append(path)
            continue
        kind, number, ending = name[:4], name[4:-4], name[-5:].lower()
        if kind in ("IMG_", "MSK_") and ending.endswith(".tif") and number.isascii() and number.isdigit():
            numbers = files.images if kind == "IMG_" else files.masks
            keep(numbers, number, path, files.twice)
        elif "metadata" in name and ending == ".json":
            files.metadata.append(path)
            add_stamp(source_file(path), files)
    files.metadata.sort()
    return files


def keep(paths: dict[str, str], key: str, path: str, twice: list[str]) -> None:
    """Add a path under its key. Archives left beside what was unpacked from them are no second copy."""
    first = paths.setdefault(key, path)
    if first != path and _archived(first) == _archived(path):
        twice.append(path)
    elif _archived(first):
        paths[key] = path


def domain_and_zone(path: str) -> tuple[str, str]:
    """Return ``D004_2021`` and ``Z10_AU``, the names of the folders nearest to the file that look like that.

    Raises:
        DataError: no folder of the path is named so.
    """
    domain, zone = _of_folder(path[: max(path.rfind("/"), path.rfind(os.sep)) + 1])
    if not domain or not zone:
        raise DataError(f"{path}: no folder of its path is named like {'Z10_AU' if domain else 'D004_2021'}")
    return domain, zone


@lru_cache(maxsize=4096)
def _of_folder(folder: str) -> tuple[str, str]:
    domains, zones = _DOMAIN.findall(folder), _ZONE.findall(folder)
    return (domains or [""])[-1], (zones or [""])[-1]


def read_metadata(paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the entries of all files by patch id; what one lacks, another may give.

    Raises:
        DataError: a file is no JSON, or none of an object for each id; or two entries of one id say different things.
    """
    entries: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            text = decoded(path, read_bytes(path, TEXT_BYTES))
        except OSError as error:
            raise DataError(f"{path}: no readable JSON ({error})") from error
        content = parse_json(text, path)
        if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
            raise DataError(f"{path}: expected is one object with an object for each id, like {{'IMG_000001': {{…}}}}")
        if text.count('"IMG_') > len(content):
            check_once(path, text)
        for patch in content.keys() & entries.keys():
            before, now = entries[patch], content[patch]
            if differing := sorted(key for key in before.keys() & now.keys() if before[key] != now[key]):
                raise DataError(
                    f"{path}: {patch} has the {differing[0]} {now[differing[0]]!r}, and {before[differing[0]]!r} in "
                    "another metadata file; remove the wrong one"
                )
            content[patch] = before | now
        entries |= content
    return entries


def check_once(path: str, text: str) -> None:
    """Raise `DataError` where an id is the key of two entries, of which a reader of JSON takes the last in silence."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{path}: has two entries {twice!r}; remove the wrong one")
        return content

    json.loads(text, object_pairs_hook=once)


def _archived(path: str) -> bool:
    return source_file(path) != path


def walk(root: Path, files: FlairFiles) -> Iterator[str]:
    """Yield the paths of all files; the folders and archives that they are in are stamped."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}, which is to hold the data (--data)")
    add_stamp(str(root), files)
    resolved = root.resolve()
    seen = {str(resolved)}  # links may lead in circles
    for folder, folders, names in os.walk(root, followlinks=True):
        for name in list(folders):  # they are listed after this
            if is_hidden(name):
                folders.remove(name)
                continue
            path = f"{folder}{os.sep}{name}"
            if os.path.islink(path):  # noqa: PTH114 - as below
                real = os.path.realpath(path)
                if leads_out(Path(path), resolved):
                    files.unreadable.append(f"{path}: {_OUTSIDE}")
                if real in seen or leads_out(Path(path), resolved):
                    folders.remove(name)
                    continue
                seen.add(real)
            add_stamp(path, files)
        for name in names:
            path = f"{folder}{os.sep}{name}"
            if os.path.islink(path) and name.lower().endswith(_READ) and leads_out(Path(path), resolved):  # noqa: PTH114
                files.unreadable.append(f"{path}: {_OUTSIDE}")
                continue
            if name.lower().endswith(".zip") and not name.endswith(".zip") and name[0] != ".":
                files.unreadable.append(f"{path}: rename it so that it ends in .zip, in small letters")
                continue
            if not name.endswith(".zip") or name[0] == ".":
                yield path
                continue
            add_stamp(path, files)
            try:
                yield from members(path)
            except DataError as error:
                files.unreadable.append(str(error))


def add_stamp(path: str, files: FlairFiles) -> None:
    """Remember the stamp of a file or folder, unless it has one already."""
    with suppress(OSError):  # what is not there is named where it is read
        files.stamps.setdefault(path, stamp(path))
