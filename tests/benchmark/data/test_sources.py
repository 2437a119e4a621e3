"""Content that changed under an old name, size and time is noticed; what only looks new is not decoded again."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data import shards
from benchmark.data.folder import read_folder
from benchmark.data.sources import stamps_of
from benchmark.data.store import is_decoded, open_store


@pytest.fixture
def bitmaps(folder: Path) -> Path:
    """The folder with masks whose size on disk does not hang on what they hold."""
    for mask in folder.parent.glob("*/masks/p1.png"):
        Image.open(mask).save(mask.with_suffix(".bmp"))
        mask.unlink()
    folder.write_text(folder.read_text().replace("masks/{part}.png", "masks/{part}.bmp"))
    return folder


def _labels(description: Path, stores: Path) -> np.ndarray:
    store = open_store(read_folder(description), stores)
    rows = np.arange(len(store.ids))
    return store.labels_of(rows).read(rows)


def _repaint(mask: Path, *, by_rename: bool) -> None:
    """All of the first class, with the size and time of change that the file had."""
    before = mask.stat()
    other = mask.with_suffix(".new") if by_rename else mask
    Image.fromarray(np.full((12, 16, 3), (0x3C, 0x10, 0x98), np.uint8)).save(other, format="BMP")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(mask)
    assert (mask.stat().st_size, mask.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("by_rename", [False, True])
def test_changed_content_of_the_same_size_and_time_is_noticed(bitmaps: Path, tmp_path: Path, by_rename: bool) -> None:
    before = _labels(bitmaps, tmp_path / "stores")
    _repaint(tmp_path / "Tile 2/masks/p1.bmp", by_rename=by_rename)
    assert not is_decoded(read_folder(bitmaps), tmp_path / "stores")
    after = _labels(bitmaps, tmp_path / "stores")
    assert np.array_equal(after[:4], before[:4]) and set(np.unique(after[4:])) == {0, 255} != set(np.unique(before[4:]))


def test_a_file_that_only_looks_new_is_not_decoded_again(bitmaps: Path, tmp_path: Path, monkeypatch) -> None:
    before = _labels(bitmaps, tmp_path / "stores")
    for path in tmp_path.glob("Tile */*/p1.*"):
        stamp = path.stat()
        path.with_suffix(".copy").write_bytes(path.read_bytes())
        os.utime(path.with_suffix(".copy"), ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        path.with_suffix(".copy").replace(path)
    monkeypatch.setattr(shards, "read_patches", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(_labels(bitmaps, tmp_path / "stores"), before)
    known = [json.loads(path.read_text())["sources"] for path in tmp_path.glob("stores/tiny/*/shard.json")]
    now = stamps_of(str(path) for path in tmp_path.glob("Tile */*/p1.*"))
    assert {path: tuple(stamp[:4]) for sources in known for path, stamp in sources.items()} == now
