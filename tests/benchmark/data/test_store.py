"""The store: decoded once, whole or not there, and readable only where it may be."""

import errno
import pickle
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from benchmark.data import store as store_module
from benchmark.data.store import open_store
from benchmark.errors import DataError


def test_patches_are_what_the_files_hold(catalog, store):
    for row in (0, 7, len(store.ids) - 1):
        patch = catalog.patches.set_index("id").loc[store.ids[row]]
        with rasterio.open(patch["image"]) as file:
            np.testing.assert_array_equal(store.images[row], file.read())
        with rasterio.open(patch["mask"]) as file:
            values = file.read(1)
        mask = store.labels_of(np.array([row])).read(np.array([row]))[0]
        np.testing.assert_array_equal(mask, np.where(values > 12, 255, values - 1))


def test_files_are_decoded_once(catalog, stores, store, monkeypatch):
    monkeypatch.setattr(store_module, "read_patches", lambda *_: pytest.fail("decoded again"))
    again = open_store(catalog, stores)
    assert again.digest == store.digest and again.ids == store.ids


def test_a_changed_file_gives_another_store(catalog, tmp_path):
    first = open_store(catalog, tmp_path)
    longer = replace(catalog, patches=catalog.patches.iloc[:-1])
    assert open_store(longer, tmp_path).digest != first.digest
    assert len(list(tmp_path.iterdir())) == 2


def test_labels_outside_the_allowed_rows_cannot_be_read(store):
    labels = store.labels_of(np.array([1, 2]))
    labels.read(np.array([2, 1, 1]))
    with pytest.raises(PermissionError):
        labels.read(np.array([1, 3]))


def test_band_statistics_are_those_of_the_pixels(store):
    rows = np.array([0, 3, 5])
    mean, std = store.band_statistics(rows)
    pixels = store.images[rows].astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)))
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-6)


def test_a_store_is_sent_to_another_process_as_its_place(store):
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).images[0], store.images[0])


def test_too_little_space_is_told_before_anything_is_decoded(catalog, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: usage(10, 10, 100))
    with pytest.raises(DataError, match=r"the disk is full: the store needs"):
        open_store(catalog, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_half_written(catalog, tmp_path, monkeypatch):
    calls = []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return read(*arguments)

    read = store_module.read_patches
    monkeypatch.setattr(store_module, "read_patches", full)
    with pytest.raises(DataError, match=f"disk is full.*{tmp_path}"):
        open_store(catalog, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(catalog, tmp_path):
    patches = catalog.patches.copy()
    patches.loc[3, "image"] = "/nowhere/IMG_000004.tif"
    with pytest.raises(DataError, match=r"/nowhere/IMG_000004\.tif"):
        open_store(replace(catalog, patches=patches), tmp_path)
