"""Files in zip archives: named ``/data/D004_2021.zip!/aerial/Z10_AU/img/IMG_000826.tif`` and read there."""

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from benchmark.common.errors import DataError
from benchmark.common.files import read_regular
from benchmark.common.texts import shown

_MARK = ".zip!/"  # "!/" alone would also be in the path of a folder whose name ends in "!"
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)  # all that it raises
MOST_BYTES = 4 << 30  # of one member, unpacked
_BLOCK = 1 << 20


def members(archive: str) -> Iterator[str]:
    """Return the paths of the files in a zip archive.

    Nothing is ever unpacked; a name that leads out of the archive is refused all the same, since it would do harm where
    the archive is unpacked by hand.

    Raises:
        DataError: it is no readable zip archive, or a member's name is absolute, leads upwards, is there twice, or
            is that of a link.
    """
    if not Path(archive).is_file():
        raise DataError(f"{archive}: no regular file")
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
    except _UNREADABLE as error:
        raise DataError(f"{archive}: no readable zip archive, perhaps truncated ({error})") from error
    names: set[str] = set()
    for entry in entries:
        if fault := _fault(entry, names):
            raise DataError(f"{archive}: the member {shown(entry.filename[:200])!r} {fault}; the archive is not read")
        names.add(entry.filename)
    return (f"{archive}!/{entry.filename}" for entry in entries if not entry.is_dir())


def _fault(entry: zipfile.ZipInfo, seen: set[str]) -> str:
    name = entry.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or parts[0].endswith(":"):
        return "leads out of the archive"
    if stat.S_IFMT(entry.external_attr >> 16) == stat.S_IFLNK:
        return "is a symbolic link"
    if name in seen:  # of which readers take the first or the last
        return "is there twice"
    return ""


def source_file(path: str) -> str:
    """Return the file on disk that holds a path: itself, or its archive."""
    return _parts(path)[0]


def gdal_path(path: str) -> str:
    """Return the path as GDAL reads it, out of the archive without unpacking."""
    archive, member = _parts(path)
    return f"/vsizip/{{{archive}}}/{member}" if member else path


def read_bytes(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file of at most ``most`` bytes, in an archive or not.

    Raises:
        DataError: it is larger, or no regular file, or it is in an archive and is damaged or encrypted there.
        OSError: it is in none, and cannot be read.
    """
    archive, member = _parts(path)
    if not member:
        return read_regular(Path(path), most)
    try:
        with zipfile.ZipFile(archive) as content:
            return b"".join(_blocks(content, member, most))
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read from the archive, perhaps damaged ({error})") from error


def check_member(path: str) -> None:
    """Compare a file in an archive with its checksum, which GDAL does not; nothing is done for any other file.

    Raises:
        DataError: it is damaged.
    """
    archive, member = _parts(path)
    if not member:
        return
    try:
        for _ in _blocks(_opened(archive), member, MOST_BYTES):
            pass
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read from the archive, perhaps damaged ({error})") from error


def _blocks(content: zipfile.ZipFile, member: str, most: int) -> Iterator[bytes]:
    """Yield a member piece by piece: at once it would be unpacked whole, whatever its header says."""
    declared = content.getinfo(member).file_size
    if declared > most:
        raise DataError(f"{content.filename}: {member} has {declared:,} bytes; at most {most:,} are read")
    with content.open(member) as file:
        while block := file.read(_BLOCK):
            yield block


@lru_cache(maxsize=64)
def _opened(archive: str) -> zipfile.ZipFile:
    """Open an archive and keep it open: reading the list of 77,000 files takes a second. Threads may share it."""
    return zipfile.ZipFile(archive)


def _parts(path: str) -> tuple[str, str]:
    """Return the file on disk, and the member's name or ""."""
    archive, mark, member = path.partition(_MARK)
    return (f"{archive}.zip", member) if mark else (path, "")
