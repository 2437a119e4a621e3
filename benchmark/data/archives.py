"""Files in zip archives: named ``/data/D004_2021.zip!/aerial/Z10_AU/img/IMG_000826.tif`` and read where they lie."""

import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from benchmark.errors import DataError

_MARK = ".zip!/"  # "!/" alone would also be in the path of a folder whose name ends in "!"
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)  # all that it raises


def members(archive: str) -> Iterator[str]:
    """Paths of the files in a zip archive.

    Raises:
        DataError: it is no readable zip archive.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            names = content.namelist()
    except _UNREADABLE as error:
        raise DataError(f"{archive}: no readable zip archive, perhaps truncated ({error})") from error
    return (f"{archive}!/{name}" for name in names if not name.endswith("/"))


def source_file(path: str) -> str:
    """The file on disk that a path lies in: itself, or its archive."""
    return _parts(path)[0]


def gdal_path(path: str) -> str:
    """The path as GDAL reads it, out of the archive without unpacking."""
    archive, member = _parts(path)
    return f"/vsizip/{{{archive}}}/{member}" if member else path


def read_bytes(path: str) -> bytes:
    """The content of a file, in an archive or not.

    Raises:
        DataError: it lies in an archive and is damaged or encrypted there.
        OSError: it lies in none, and cannot be read.
    """
    archive, member = _parts(path)
    if not member:
        return Path(path).read_bytes()
    try:
        with zipfile.ZipFile(archive) as content:
            return content.read(member)
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read from the archive, perhaps damaged ({error})") from error


def check_member(path: str) -> None:
    """Hold a file in an archive against its checksum, which GDAL does not; nothing is done for any other file.

    Raises:
        DataError: it is damaged.
    """
    archive, member = _parts(path)
    if not member:
        return
    try:
        _opened(archive).read(member)
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read from the archive, perhaps damaged ({error})") from error


@lru_cache(maxsize=64)
def _opened(archive: str) -> zipfile.ZipFile:
    """Kept open: the list of an archive of 77,000 files takes a second to read. Threads may share it."""
    return zipfile.ZipFile(archive)


def _parts(path: str) -> tuple[str, str]:
    """File on disk, and the member's name or ""."""
    archive, mark, member = path.partition(_MARK)
    return (f"{archive}.zip", member) if mark else (path, "")
