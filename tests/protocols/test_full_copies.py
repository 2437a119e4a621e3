"""Copies of FLAIR #2 and FLAIR-HUB at the size of their listings: their catalogs, protocols and stores of series.

Names, folders, metadata, dates and coordinates are those of a whole copy; images and series are tiny, and in FLAIR #2
one file under many names. With ``-m slow -s`` each step prints its seconds and the most memory so far.
"""

import json
import os
import resource
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from benchmark.data.datasets import open_catalog
from benchmark.data.flair import TEST_2, TRAINING
from benchmark.data.flair_check import check_flair
from benchmark.data.flairhub_check import check_flairhub
from benchmark.data.series.dates import select
from benchmark.data.series.files import find_series, read_centroids, zone_of
from benchmark.data.series.hub import COVERS, PACKAGE, VALUES, hub_sources
from benchmark.data.series.series import PATCH, crop
from benchmark.data.series.store import centres_of, open_series_store, zone_sources
from protocols.columns import read_table
from protocols.cutting import cut
from protocols.files import FOLDER, load, names

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SIDE = 8  # pixels of an image
ZONE_SIDE = 64  # pixels of a zone's series
SPLITS = ("split_flairhub", "split_flairchallenge", *(f"split_{number}" for number in range(1, 6)))
REGIONS, PATCHES = 2_822, 241_100  # of FLAIR-HUB
WITH_SERIES = ("D004-2021", "D005-2018")
WHOLE = (pytest.mark.slow, pytest.mark.timeout(3600))  # the headers of FLAIR-HUB's images alone take minutes
SIZES = (pytest.param(True, id="part"), pytest.param(False, id="whole", marks=WHOLE))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the tables of catalogs are kept


@contextmanager
def _step(name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{name}: {time.perf_counter() - start:.1f} s, {most:.0f} MiB", end="")


def _cut_all(prefix: str, patches: pd.DataFrame, *, partial: bool) -> None:
    """Cut every protocol of a data set; on a part of it without the size that a target must have."""
    for name in [name for name in names() if name.startswith(prefix)]:
        protocol = load(name, partial=partial)
        if partial:
            protocol = replace(protocol, split=replace(protocol.split, smallest_target=1))
        with _step(name):
            assert cut(protocol, patches)


@pytest.mark.parametrize("partial", SIZES)
def test_a_copy_of_flair_2_gives_catalog_protocols_and_store(
    partial: bool, flair2_listing: pd.DataFrame, tmp_path: Path
) -> None:
    listing, root = flair2_listing, tmp_path / "flair2"
    if partial:
        first = listing.drop_duplicates("zone").groupby("place").head(4)["zone"]
        listing = listing[listing["zone"].isin(first)].groupby("zone").head(2).reset_index(drop=True)
    with _step(f"{len(listing)} patches written"):
        _write_flair2(root, listing)
    for again in ("catalog", "catalog, kept"):
        with _step(again):
            patches = open_catalog("flair2", root).patches
    columns = ["id", "place", "time", "zone", "date", "camera", "x", "y"]
    pd.testing.assert_frame_equal(patches[columns], listing[columns], check_dtype=False)
    _cut_all("flair2-", patches, partial=partial)
    with _step("check of the names"):
        good, verdict = check_flair(root, (TRAINING, TEST_2), names_only=True).verdict()
    assert good != partial and (partial or verdict == "77,762 patches, as published")
    with _step("store"):
        files = find_series(root)
        zones = {patch: zone_of(image) for patch, image in zip(patches["id"], patches["image"], strict=True)}
        sources = zone_sources(files, zones.values())
        store = open_series_store("flair2", sources, tmp_path / "stores")
    assert len(store.keys) == patches["zone"].nunique() == (200 if partial else 916)
    with _step("store, kept"):
        assert open_series_store("flair2", sources, tmp_path / "stores").digest == store.digest
    with _step("centres"):
        centres = centres_of(store, zones, read_centroids(files.centroids))
    with _step("a patch's series of each zone"):
        for patch in patches.drop_duplicates("zone")["id"]:
            series, _ = select(crop(store.read(zones[patch]), centres[patch]))
            assert series.values.shape == (1, 10, PATCH, PATCH)


def _write_flair2(root: Path, listing: pd.DataFrame) -> None:
    """A copy as unpacked from IGN's zips; each domain has one image, one mask and one series, linked to all names."""
    metadata, centroids = {}, {}
    for (place, year), rows in listing.groupby(["place", "time"]):
        domain = f"{place}_{year}"
        image, mask = root / "once" / f"{domain}.bytes", root / "once" / f"{domain}.mask"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(_tiff(5))
        mask.write_bytes(_tiff(1))
        part, test = ("flair_2_{}_test", "test") if rows["id"].iloc[0] > "IMG_061712" else ("flair_{}_train", "train")
        series = _series(root / "once", domain, int(year))
        for zone, patches in rows.groupby("zone"):
            folders = {
                kind: root / part.format(kind) / domain / zone.partition("/")[2] / sub
                for kind, sub in (("aerial", "img"), ("labels", "msk"))
            }
            folders["sen"] = root / f"flair_sen_{test}" / domain / zone.partition("/")[2] / "sen"
            for folder in folders.values():
                folder.mkdir(parents=True)
            for end, path in series.items():
                os.link(path, folders["sen"] / f"SEN2_sp_{domain}-{zone.partition('/')[2]}_{end}")
            for index, row in enumerate(patches.itertuples()):
                number = row.id[4:]
                os.link(image, folders["aerial"] / f"IMG_{number}.tif")
                os.link(mask, folders["labels"] / f"MSK_{number}.tif")
                centroids[f"IMG_{number}.tif"] = [index // 10 * 5, index % 10 * 6]
                metadata[row.id] = {
                    "domain": domain,
                    "zone": zone.partition("/")[2],
                    "patch_centroid_x": row.x,
                    "patch_centroid_y": row.y,
                    "patch_centroid_z": 100.0,
                    "date": row.date,
                    "time": "9h05",
                    "camera": row.camera,
                }
    (root / "flair_aerial_metadata.json").write_text(json.dumps(metadata))
    (root / "flair-2_centroids_sp_to_patch.json").write_text(json.dumps(centroids))


def _series(folder: Path, domain: str, year: int) -> dict[str, Path]:
    """Two dates, of which the second is under clouds."""
    paths = {end: folder / f"{domain}-{end}" for end in ("data.npy", "masks.npy", "products.txt")}
    covers = np.zeros((2, 2, ZONE_SIDE, ZONE_SIDE), np.uint8)
    covers[1, 1] = 90
    np.save(paths["data.npy"], np.full((2, 10, ZONE_SIDE, ZONE_SIDE), year, np.uint16))
    np.save(paths["masks.npy"], covers)
    dates = (f"{year}0114", f"{year}0119")
    lines = [f"S2B_MSIL2A_{date}T105309_N0214_R051_T31TFJ_{date}T131427\n" for date in dates]
    paths["products.txt"].write_text("".join(lines))
    return paths


def _tiff(bands: int, west: float = 0.0, north: float = 0.0, value: int = 1) -> bytes:
    with MemoryFile() as memory:
        corner = from_origin(west, north, 102.4 / SIDE, 102.4 / SIDE)
        with memory.open(
            driver="GTiff", width=SIDE, height=SIDE, count=bands, dtype="uint8", crs="EPSG:2154", transform=corner
        ) as file:
            file.write(np.full((bands, SIDE, SIDE), value, np.uint8))
        return bytes(memory.getbuffer())


@pytest.mark.parametrize("partial", SIZES)
def test_a_copy_of_flair_hub_gives_catalog_protocols_and_store(partial: bool, tmp_path: Path) -> None:
    listing, root = _hub_listing(), tmp_path / "hub"
    if partial:
        listing = listing[(listing["region"] < 4) & (listing["cell"] < 3)].reset_index(drop=True)
    with _step(f"{len(listing)} patches written"):
        _write_hub(root, listing)
    for again in ("catalog", "catalog, kept"):
        with _step(again):
            patches = open_catalog("flairhub", root).patches
    listing = listing.sort_values("id").reset_index(drop=True)
    columns = ["id", "place", "time", "zone", "date", "x", "y", *SPLITS, "split_toy"]
    pd.testing.assert_frame_equal(patches[columns], listing[columns], check_dtype=False, check_like=True)
    _cut_all("flairhub-", patches, partial=partial)
    with _step("check of the names"):
        check = check_flairhub(root, "flairhub", names_only=True)
    others = sorted({*listing["domain"]} - {*WITH_SERIES})
    lacking = [f"{domain}_{kind}.zip" for kind in (VALUES, COVERS) for domain in others]
    assert check.faults == {"missing archives": lacking} and not any(each.faults for each in check.domains)
    assert check.notes[0] == "74 of 74 published domains are here"
    chosen = listing.loc[listing["domain"].isin(WITH_SERIES), "id"]
    with _step(f"store of {len(chosen)} patches"):
        sources = hub_sources(root, chosen)
        store = open_series_store("flairhub", sources, tmp_path / "stores")
    with _step("store, kept"):
        assert open_series_store("flairhub", sources, tmp_path / "stores").digest == store.digest
    with _step("every series"):
        assert all(store.read(patch).values.shape == (2, 10, 10, 10) for patch in chosen)


def _hub_listing() -> pd.DataFrame:
    """Columns of a catalog, and of the GeoPackages. Both years of D017 and D080 have one ground, under other names."""
    domains = [row[0].replace("@", "-") for row in read_table(FOLDER / "tables" / "flairhub-domains.csv")[1]]
    toy = {row[0].replace("@", "-"): int(row[1]) for row in read_table(FOLDER / "tables" / "flairhub-toy.csv")[1]}
    regions = [len(part) for part in np.array_split(np.arange(REGIONS), len(domains))]
    table = pd.DataFrame({"domain": np.repeat(domains, regions), "region": np.concatenate([*map(np.arange, regions)])})
    cells = [len(part) for part in np.array_split(np.arange(PATCHES), REGIONS)]
    table = table.loc[np.repeat(table.index, cells)].assign(cell=np.concatenate([*map(np.arange, cells)]))
    table = table.reset_index(drop=True)
    place, time = table["domain"].str[:-5], table["domain"].str[-4:]
    number, again = pd.factorize(place)[0], table["domain"].isin(["D017-2021", "D080-2021"])
    other = table["domain"].isin(["D033-2021", "D044-2022"])
    name = np.where(again, "UN-S1-", np.where(other, "UU-S2-", "AF-S1-")) + table["region"].astype(str)
    whole = np.where(number % 5 == 0, "test", np.where(table["region"] % 4 == 0, "valid", "train"))
    wanted = table["domain"].map(toy).fillna(0)  # forty of a domain for training and validation, or ten for the test
    in_toy = (table["region"] == 0) & (table["cell"] < np.where(wanted == 40, 30, wanted))
    in_toy |= (table["region"] == 1) & (table["cell"] < 10) & (wanted == 40)
    part = np.where(wanted == 10, "test", np.where(table["region"] == 0, "train", "valid"))
    west = 100_000 + number % 9 * 100_000 + table["region"] % 20 * 2_000 + table["cell"] % 10 * 102.4
    north = (
        6_200_000 + number // 9 * 100_000 + table["region"] // 20 * 2_000 - table["cell"] // 10 * 102.4 + other * 5e4
    )
    return table.assign(
        id=table["domain"]
        + "_"
        + name
        + "_"
        + (table["cell"] // 10).astype(str)
        + "-"
        + (table["cell"] % 10).astype(str),
        place=place,
        time=time,
        zone=np.where(other, place + "/" + name, place + "/AF-S1-" + table["region"].astype(str)),
        date=time + "-07-01",
        west=west,
        north=north,
        x=west + 51.2,
        y=north - 51.2,
        **dict.fromkeys(SPLITS, whole),
        split_toy=np.where(in_toy, part, ""),
    )


def _write_hub(root: Path, listing: pd.DataFrame) -> None:
    """A copy in the archives as published. Labels are empty, since a catalog opens none; two domains have series."""
    root.mkdir()
    first = {"west": 123_456.75, "north": 6_543_210.25}
    image = _tiff(4, **first)
    assert all(image.count(np.float64(value).tobytes()) == 1 for value in first.values())
    contents = {kind: _rasters(2 * bands) for kind, bands in ((VALUES, 10), (COVERS, 2))}
    for domain, rows in listing.groupby("domain"):
        kinds = ["AERIAL_RGBI", "AERIAL_LABEL-COSIA", *(contents if domain in WITH_SERIES else ())]
        for kind in kinds:
            with zipfile.ZipFile(root / f"{domain}_{kind}.zip", "w") as archive:
                for row in rows.itertuples():
                    _, region, cell = row.id.split("_")
                    content = contents.get(kind, b"")
                    if kind == "AERIAL_RGBI":
                        content = image
                        for key, value in first.items():
                            content = content.replace(
                                np.float64(value).tobytes(), np.float64(getattr(row, key)).tobytes()
                            )
                    archive.writestr(f"{domain}_{kind}/{region}/{domain}_{kind}_{region}_{cell}.tif", content)
    regions = sorted({patch.rpartition("_")[0] for patch in listing["id"]})
    years = [region.partition("_")[0][-4:] for region in regions]
    dates = [json.dumps({"1": f"{year}0114", "2": f"{year}0119"}) for year in years]
    tables = {
        "GLOBAL_ALL_MTD_SPLIT.gpkg": listing[["id", *SPLITS, "split_toy"]],
        "GLOBAL_AERIAL_MTD_DATES.gpkg": listing[["id", "date"]].assign(date=listing["date"].str.replace("-", "")),
        PACKAGE: pd.DataFrame({"id": regions, "acquisition_dates": dates}),
    }
    with zipfile.ZipFile(root / "GLOBAL_ALL_MTD.zip", "w") as archive:
        for name, table in tables.items():
            with closing(sqlite3.connect(root.parent / name)) as database:
                table.rename(columns={"id": "patch_id"}).to_sql("patches", database, index=False)
            archive.write(root.parent / name, f"GLOBAL_ALL_MTD/{name}")


def _rasters(bands: int) -> bytes:
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", width=10, height=10, count=bands, dtype="uint16", crs="EPSG:2154") as file:
            file.write(np.ones((bands, 10, 10), np.uint16))
        return bytes(memory.getbuffer())
