"""The store: what it holds, the same wherever it lies, and readable only where it may be."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from PIL import Image

from benchmark.common.errors import DataError
from benchmark.data import shards
from benchmark.data.catalog import Catalog
from benchmark.data.classes import FLAIR_13
from benchmark.data.folder import read_folder
from benchmark.data.statistics import domain_statistics
from benchmark.data.store import open_store


def _masks(store, rows):
    return store.labels_of(rows).read(rows)


def test_patches_are_what_the_files_hold(catalog, store):
    rows = np.array([0, 7, len(store.ids) - 1, 7])
    images, masks = store.read(rows), _masks(store, rows)
    assert images.shape == (4, 5, store.size, store.size) and masks.shape == (4, store.size, store.size)
    for row, image, mask in zip(rows, images, masks, strict=True):
        patch = catalog.patches.set_index("id").loc[store.ids[row]]
        with rasterio.open(patch["image"]) as file:
            np.testing.assert_array_equal(image, file.read())
        with rasterio.open(patch["mask"]) as file:
            values = file.read(1)
        np.testing.assert_array_equal(mask, np.where(values > 12, 255, values - 1))


def test_rows_are_in_the_order_of_the_catalog(catalog, store):
    assert store.ids == tuple(catalog.patches["id"])
    assert store.rows(store.ids[::-1]).tolist() == list(range(len(store.ids)))[::-1]


def test_windows_of_one_image_keep_their_order(tmp_path, write_tiff, patches):
    """Ids that sort otherwise than their files: the rows follow the ids, through files and shards."""
    image = np.arange(5 * 4 * 8, dtype=np.uint8).reshape(5, 4, 8)
    paths = [str(write_tiff(tmp_path / f"{name}.tif", image + add)) for name, add in (("z", 0), ("a", 50))]
    table = patches.iloc[[0, 0, 0, 0]].assign(
        id=["1", "2", "3", "4"], image=[paths[0], paths[1], paths[0], paths[1]], column=[0, 0, 4, 4]
    )
    store = open_store(Catalog("mixed", FLAIR_13, tuple("abcde"), 4, table), tmp_path / "stores")
    expected = [image[..., :4], image[..., :4] + 50, image[..., 4:], image[..., 4:] + 50]
    np.testing.assert_array_equal(store.read(store.rows(["1", "2", "3", "4"])), expected)


def test_the_digest_knows_neither_folder_nor_shards(catalog, store, tmp_path, monkeypatch):
    assert open_store(catalog, tmp_path / "elsewhere").digest == store.digest
    monkeypatch.setattr(shards, "SHARD_PATCHES", 3)
    cut = open_store(catalog, tmp_path / "cut")
    assert len(cut.shards) == 8 and len(store.shards) == 4
    assert cut.digest == store.digest
    assert open_store(replace(catalog, patches=catalog.patches.iloc[:-1]), tmp_path / "cut").digest != store.digest


def test_labels_outside_the_allowed_rows_cannot_be_read(store):
    labels = store.labels_of(np.array([1, 2]))
    labels.read(np.array([2, 1, 1]))
    with pytest.raises(PermissionError):
        labels.read(np.array([1, 3]))


def test_images_of_some_rows_are_read_by_position_and_no_others(store):
    last = len(store.ids) - 1
    images = store.images_of(np.array([7, last, 0]))
    np.testing.assert_array_equal(images.read(np.array([1, 0, 0, 2])), store.read(np.array([last, 7, 7, 0])))
    with pytest.raises(IndexError):
        images.read(np.array([3]))


def test_band_statistics_are_those_of_the_pixels(store):
    rows = np.array([0, 3, 5])
    mean, std = store.band_statistics(rows)
    pixels = store.read(rows).astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)))
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-6)


def test_class_counts_are_those_of_the_masks(catalog, tmp_path):
    patches = catalog.patches.copy()
    patches.loc[2, "mask"] = ""  # all of it is ignored
    store = open_store(replace(catalog, patches=patches), tmp_path)
    rows = np.array([11, 2, 6])
    counts, masks = store.class_counts(rows), _masks(store, rows)
    classes = catalog.classes.num_classes
    assert counts.dtype == np.int64 and (masks == 255).any()
    assert counts.T.tolist() == [(masks == value).sum((1, 2)).tolist() for value in (*range(classes), 255)]


def test_histograms_are_those_of_the_domains_pixels(catalog, store, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_PATCHES", 3)  # two shards a domain
    for opened in (store, open_store(catalog, tmp_path)):
        for domain in catalog.domain.unique():
            pixels = opened.read(np.flatnonzero(catalog.domain == domain))
            expected = [np.bincount(pixels[:, band].ravel(), minlength=256) for band in range(5)]
            np.testing.assert_array_equal(opened.histogram(domain), expected)
    with pytest.raises(KeyError):
        store.histogram("D999@2020")


def test_a_store_is_sent_to_another_process_as_its_place(store):
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert again.ids == store.ids and again.digest == store.digest
    np.testing.assert_array_equal(again.read(np.arange(16)), store.read(np.arange(16)))


def test_a_place_that_is_gone_is_told(catalog, tmp_path):
    sent = pickle.dumps(open_store(catalog, tmp_path / "stores"))
    (tmp_path / "stores").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"removed or damaged"):
        pickle.loads(sent)


def test_pixels_without_data_are_in_no_statistics_and_their_share_is_told(folder, tmp_path, caplog):
    rng = np.random.default_rng(1)
    for tile, clear in (("Tile 1", np.s_[:6]), ("Tile 2", np.s_[:0])):
        pixels = rng.integers(0, 255, (12, 16, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        pixels[clear] = 0
        Image.fromarray(pixels).save(folder.parent / tile / "images/p1.png")
    catalog = read_folder(folder)
    store = open_store(catalog, tmp_path / "stores")
    assert "18.75 % of the pixels hold no data" in caplog.text and "ignored: Tile 1 37.50%\n" in caplog.text
    rows = store.rows(catalog.patches["id"][:4].tolist())
    images, masks = store.read(rows), _masks(store, rows)
    # Below the image its border is repeated, here as everywhere, and counts in the statistics.
    assert (masks[:2, :6] == 255).all() and store.valid[rows].tolist() == [16, 16, 64, 64]
    mean, std = store.band_statistics(rows)
    for band in range(3):
        seen = np.concatenate([images[:2, band, 6:].ravel(), images[2:, band].ravel()]).astype(float)
        np.testing.assert_allclose((mean[band], std[band]), (seen.mean(), seen.std()))
    assert store.histogram("Tile 1").sum(1).tolist() == [160] * 3
    assert [row.no_data for row in domain_statistics(catalog, store, (0.5,))] == [0.375, 0.0, 0.1875]


def test_a_band_of_one_number_is_told(folder, tmp_path, caplog, write_picture):
    pixels = np.random.default_rng(1).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    pixels[..., 2] = 7
    write_picture(folder.parent / "Tile 2/images/p1.png", pixels)
    open_store(read_folder(folder), tmp_path / "stores")
    assert "band blue is 7 in every pixel of Tile 2" in caplog.text and "Tile 1" not in caplog.text
