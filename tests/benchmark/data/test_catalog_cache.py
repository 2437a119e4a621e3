"""A large catalog is made once, and again when anything it hangs on has changed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import catalog_cache
from benchmark.data import flair as flair_module
from benchmark.data.flair import read_flair


@pytest.fixture
def walks(tmp_path_factory, monkeypatch) -> list[Path]:
    """Every catalog is large; the list grows with each walk through a folder."""
    monkeypatch.setattr(catalog_cache, "LARGE", 1)
    monkeypatch.setattr(catalog_cache, "FOLDER", tmp_path_factory.mktemp("cache") / "catalogs")
    walked, find = [], flair_module.find_files

    def noting(root: Path):
        walked.append(root)
        return find(root)

    monkeypatch.setattr(flair_module, "find_files", noting)
    return walked


def test_a_catalog_is_made_once(flair: Path, walks) -> None:
    first, second = read_flair(flair), read_flair(flair)
    assert len(walks) == 1
    assert first.patches.equals(second.patches) and first.patches.dtypes.equals(second.patches.dtypes)
    assert second.patch_size == 16
    read_flair(flair, numbers=[range(10)])
    assert len(walks) == 2


def test_a_new_lost_or_renamed_file_is_seen(flair: Path, walks, write_tiff) -> None:
    (flair / "flair-1_metadata_aerial.json").unlink()
    mask = flair / "flair_labels_train/D004_2021/Z10_AU/msk/MSK_000001.tif"
    assert read_flair(flair).patches["mask"].iloc[0] == str(mask)
    mask.unlink()
    assert read_flair(flair).patches["mask"].iloc[0] == ""
    (flair / "flair_aerial_train/D004_2019").rename(flair / "flair_aerial_train/D005_2019")
    assert read_flair(flair).patches["place"].tolist() == ["D004", "D005", "D012"]
    write_tiff(flair / "new/D006_2020/Z1_UU/img/IMG_000003.tif", np.ones((5, 16, 16), np.uint8))
    assert len(read_flair(flair)) == 4
    assert len(walks) == 4


def test_a_file_that_comes_while_the_folders_are_walked_is_seen(flair: Path, walks, write_tiff, monkeypatch) -> None:
    """The stamps are of before the walk, so the catalog that lacks the file does not stand."""
    find = flair_module.find_files

    def adding(root: Path):
        found = find(root)
        write_tiff(flair / "flair_aerial_train/D004_2021/Z10_AU/img/IMG_000003.tif", np.ones((5, 16, 16), np.uint8))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(flair_module, "find_files", adding)
        assert len(read_flair(flair)) == 3
    assert len(read_flair(flair)) == 4


def test_changed_metadata_is_seen(flair: Path, walks) -> None:
    read_flair(flair)
    path = flair / "flair-1_metadata_aerial.json"
    path.write_text(json.dumps({}))
    os.utime(path, ns=(1, 1))
    assert (read_flair(flair).patches["date"] == "").all()


@pytest.mark.parametrize("kept", [b"", b"{}", b"[]", b"no feather"])
def test_a_damaged_cache_is_made_again(kept: bytes, flair: Path, walks) -> None:
    whole = read_flair(flair).patches
    for name in ("*.feather", "*.json"):
        for path in catalog_cache.FOLDER.glob(name):
            before = path.read_bytes()
            path.write_bytes(kept)
            assert read_flair(flair).patches.equals(whole)
            path.write_bytes(before)
    assert len(walks) == 3


def test_a_cache_that_cannot_be_written_costs_time_only_and_says_so(flair: Path, walks, caplog) -> None:
    catalog_cache.FOLDER.parent.joinpath("catalogs").write_text("a file in its place")
    assert len(read_flair(flair)) == len(read_flair(flair)) == 3
    assert len(walks) == 2
    assert "the catalog cannot be kept" in caplog.text


def test_a_small_catalog_is_not_kept(flair: Path, walks, monkeypatch) -> None:
    monkeypatch.setattr(catalog_cache, "LARGE", 4)
    read_flair(flair)
    assert not catalog_cache.FOLDER.exists()
