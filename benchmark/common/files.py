"""Files whose content is not trusted: read up to a size, and whatever is wrong is an error that names the file."""

import errno
import json
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from numpy.lib.format import read_array
from numpy.typing import NDArray

from benchmark.common.errors import DataError

_OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.EIO)
MEBIBYTE = 1 << 20
TEXT_BYTES = 256 * MEBIBYTE  # the metadata of all 77,412 patches of FLAIR take 30
DESCRIPTION_BYTES = 16 * MEBIBYTE
ARRAY_BYTES = 4096 * MEBIBYTE  # of all arrays of one file together


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a file of at most so many bytes.

    Raises:
        DataError: it is larger, or no regular file.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: no regular file")  # reading a pipe or a device might never end
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DataError(f"{path}: larger than the {most // MEBIBYTE} MiB that such a file may have")
    return content


def read_text(path: Path, most: int = TEXT_BYTES) -> str:
    """Return the text of a file (UTF-8) of at most so many bytes.

    Raises:
        DataError: it is larger, or no regular file.
        OSError, ValueError: it cannot be read, or is no UTF-8.
    """
    return read_regular(path, most).decode("utf-8")


def parse_json(text: str, origin: object) -> Any:
    """Return the value in a JSON text.

    Args:
        origin: what the message names.

    Raises:
        DataError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{origin}: no readable JSON (nested too deeply)") from None
    except ValueError as error:
        raise DataError(f"{origin}: no readable JSON ({error})") from error


def read_json(path: Path, kind: type = dict) -> Any:
    """Return the value in a JSON file.

    Args:
        kind: type of the outermost value.

    Raises:
        DataError: the file cannot be read, is no JSON, or holds another kind of value.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no readable JSON ({error})") from error
    content = parse_json(text, path)
    if not isinstance(content, kind):
        raise DataError(f"{path}: expected is a JSON {kind.__name__}, not {type(content).__name__}")
    return content


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file, by name; never anything that is pickled.

    Args:
        names: names to read, of those that there are; None for all.

    Raises:
        DataError: the file is damaged, is no such file, or says that it holds more than `ARRAY_BYTES`.
        OSError: the system has no more files to open, or the disk fails.
    """
    try:
        with zipfile.ZipFile(path) as content:
            members = {member.filename.removesuffix(".npy"): member for member in content.infolist()}
            declared = sum(member.file_size for member in content.infolist())
            if declared > ARRAY_BYTES:
                raise DataError(f"{path}: says that it holds {declared:,} bytes; at most {ARRAY_BYTES:,} are read")
            arrays = {}
            for name in members if names is None else members.keys() & set(names):
                with content.open(members[name]) as file:
                    arrays[name] = read_array(file, allow_pickle=False)
            return arrays
    except DataError:
        raise
    except Exception as error:  # of zipfile, zlib, numpy's headers and memory: all say the same
        if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
            raise
        raise DataError(f"{path}: no readable arrays, perhaps damaged ({_reason(error)})") from error


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a ``.safetensors`` file.

    Raises:
        DataError: the file is damaged, or none of that kind.
    """
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as error:  # safetensors has an error of its own; torch's views raise others
        raise DataError(f"{path}: no readable safetensors, perhaps damaged ({_reason(error)})") from error


def leads_out(path: Path, root: Path) -> bool:
    """Return whether a path is elsewhere than below a folder, by itself or by a link.

    Args:
        root: resolved.
    """
    return not path.resolve().is_relative_to(root)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
