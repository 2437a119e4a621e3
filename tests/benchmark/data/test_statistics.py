"""The statistics of domains are those that numpy finds in the files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from benchmark.data.catalog import Catalog
from benchmark.data.classes import FLAIR_13
from benchmark.data.statistics import domain_statistics
from benchmark.data.store import open_store

BANDS = ("red", "green", "blue", "nir", "height")
QUANTILES = (0.02, 0.5, 0.98)


@pytest.fixture
def catalog(tmp_path: Path, write_tiff: Callable[..., Path], patches: pd.DataFrame) -> Catalog:
    """P1 with two patches, dark and light, and P2 with one; some pixels of the masks are of no class that counts."""
    rng = np.random.default_rng(0)
    table = patches.assign(time="2021")
    for index, row in table.iterrows():
        low = 100 if row["id"] == "b" else 0
        image = rng.integers(low, low + 100, (5, 16, 16), dtype=np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None]
        table.loc[index, "image"] = str(write_tiff(tmp_path / f"{row['id']}.tif", image))
        mask = rng.integers(1, 20 if row["id"] == "b" else 5, (16, 16), dtype=np.uint8)
        table.loc[index, "mask"] = str(write_tiff(tmp_path / f"{row['id']}-mask.tif", mask))
    return Catalog("tiny", FLAIR_13, BANDS, 16, table)


def _pixels(catalog: Catalog, domain: str, column: str) -> np.ndarray:
    """(bands, pixels) of all files of a domain."""
    read = []
    for path in catalog.patches.loc[[domain in ("all", name) for name in catalog.domain], column]:
        with rasterio.open(path) as file:
            read.append(file.read().reshape(file.count, -1))
    return np.concatenate(read, axis=1)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_each_domain_and_all_are_as_numpy_finds_them(catalog: Catalog, tmp_path: Path) -> None:
    found = domain_statistics(catalog, open_store(catalog, tmp_path / "stores"), QUANTILES)
    assert [(row.domain, row.patches) for row in found] == [("P1@2021", 2), ("P2@2021", 1), ("all", 3)]
    for row in found:
        image = _pixels(catalog, row.domain, "image").astype(float)
        np.testing.assert_allclose(row.mean, image.mean(1))
        np.testing.assert_allclose(row.std, image.std(1))
        quantiles = np.quantile(image, QUANTILES, axis=1, method="inverted_cdf")
        np.testing.assert_array_equal(row.quantiles, quantiles.T)
        mask = _pixels(catalog, row.domain, "mask")
        counts = [(mask == value).sum() for value in range(1, 13)]
        np.testing.assert_allclose(row.class_shares, np.array(counts) / np.sum(counts))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_without_masks_the_shares_are_unknown(catalog: Catalog, tmp_path: Path) -> None:
    bare = Catalog("bare", FLAIR_13, BANDS, 16, catalog.patches.assign(mask=["", catalog.patches["mask"][1], ""]))
    rows = domain_statistics(bare, open_store(bare, tmp_path / "stores"), QUANTILES)
    shares = {row.domain: row.class_shares for row in rows}
    assert np.isnan(shares["P2@2021"]).all() and shares["P1@2021"].sum() == pytest.approx(1)
    np.testing.assert_array_equal(shares["all"], shares["P1@2021"])


def test_a_place_called_all_is_a_domain_of_its_own(catalog: Catalog, tmp_path: Path) -> None:
    named = Catalog("named", FLAIR_13, BANDS, 16, catalog.patches.assign(place=["all", "all", "P2"], time=""))
    rows = domain_statistics(named, open_store(named, tmp_path / "stores"), QUANTILES)
    assert [(row.domain, row.patches) for row in rows] == [("P2", 1), ("all", 2), ("all", 3)]
