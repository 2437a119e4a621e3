"""Bit depths of the components of a JPEG 2000 file: pillow rescales all that are not 8, and does not say so."""

import struct
from pathlib import Path
from typing import BinaryIO

_BOXES = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # its start, and the marker of the image's size
_COMPONENTS = 40  # position of their number after the start
_MOST_BOXES = 1000


def jpeg2000_depths(path: Path) -> set[int]:
    """Return the bits of each component (ISO/IEC 15444-1, A.5.1), negative where signed; none for another file."""
    with path.open("rb") as file:
        if file.read(len(_BOXES)) == _BOXES:
            _go_to_codestream(file)
        else:
            file.seek(0)
        header = file.read(_COMPONENTS + 2)
        if len(header) < _COMPONENTS + 2 or header[:4] != _CODESTREAM:
            return set()
        components = file.read(3 * struct.unpack(">H", header[_COMPONENTS:])[0])
    return {(bits & 127) + 1 if bits < 128 else -(bits & 127) - 1 for bits in components[::3]}


def _go_to_codestream(file: BinaryIO) -> None:
    """Move from the end of the first box to the content of that of the codestream, or to the end of the file."""
    for _ in range(_MOST_BOXES):
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        if length == 1:
            length = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0] - 8
        if kind == b"jp2c":
            return
        if length < 8:  # 0 says that it is the last
            file.seek(0, 2)
            return
        file.seek(length - 8, 1)
