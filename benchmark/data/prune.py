"""Shards that no call can use any more: of an older format, or of files that are gone or hold something else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.common.errors import DataError
from benchmark.common.files import read_text
from benchmark.data.shards import FORMAT
from benchmark.data.sources import are_same, stamps_of


@dataclass(frozen=True)
class OldShard:
    """A shard to be removed.

    Attributes:
        place: its folder.
        reason: why nothing can use it.
        bytes: size of its files.
    """

    place: Path
    reason: str
    bytes: int


def old_shards(stores: Path) -> list[OldShard]:
    """Return the shards below a folder of stores that no call can use any more, in the order of their paths.

    Folders that do not say that they are shards are left alone. A shard of other settings, such as another patch size,
    is kept: a description may still have them.
    """
    found = []
    for place, about in _shards(stores):
        if reason := _reason(place, about):
            files = [path for path in place.iterdir() if path.is_file() and not path.is_symlink()]
            found.append(OldShard(place, reason, sum(path.stat().st_size for path in files)))
    return found


def _shards(stores: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(stores.glob("*/*/shard.json")):
        try:
            about = json.loads(read_text(file))
        except (OSError, ValueError, RecursionError, DataError):
            continue
        if isinstance(about, dict) and {"format", "bytes", "patches"} <= set(about) and not file.parent.is_symlink():
            yield file.parent, about


def _reason(place: Path, about: dict[str, Any]) -> str:
    if about["format"] != FORMAT:
        return f"of format {about['format']}, where this landshift writes {FORMAT}"
    sources = about.get("sources")
    if not isinstance(sources, dict):
        return "without a list of its files"
    try:
        return "" if are_same(place, about, stamps_of(sources)) else "of files that were changed since"
    except DataError:
        return "of files that are gone"
    except (OSError, ValueError, TypeError, IndexError):  # unreachable now, or damaged: not for certain old
        return ""
