"""FLAIR's layout becomes a catalog, whatever is missing; what contradicts itself is an error."""

import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmark.common.errors import DataError
from benchmark.data.datasets import DATASETS
from benchmark.data.flair import TRAINING, read_flair
from benchmark.data.flair_check import check_flair
from benchmark.data.patches import read_patches
from benchmark.data.raster import read_mask


def test_catalog_of_the_zip_layout(flair: Path) -> None:
    catalog = read_flair(flair)
    table = catalog.patches.set_index("id")
    assert table.index.tolist() == ["IMG_000001", "IMG_000002", "IMG_061713"]
    assert catalog.domain.tolist() == ["D004@2021", "D004@2019", "D012@2019"]
    assert table["mask"].map(lambda path: Path(path).name).tolist() == ["MSK_000001.tif", "MSK_000002.tif", ""]
    assert table.loc["IMG_000001", ["date", "camera", "x"]].tolist() == ["2021-07-09", "CAMERA#017", 961488.0]
    assert (catalog.patch_size, len(catalog.bands), catalog.classes.num_classes) == (16, 5, 12)
    assert read_flair(flair, class_set="flair-19").classes.num_classes == 15


def test_same_ground_in_two_years_is_one_zone(flair: Path) -> None:
    assert read_flair(flair).patches["zone"].tolist() == ["D004/Z10_AU", "D004/Z10_AU", "D012/Z2_UU"]


def test_hugging_face_layout(flair: Path) -> None:
    (flair / "data" / "D004_2021").mkdir(parents=True)
    (flair / "flair_aerial_train/D004_2021").rename(flair / "data/D004_2021/aerial")
    (flair / "flair_labels_train/D004_2021").rename(flair / "data/D004_2021/labels")
    (flair / "aux-data").mkdir()
    (flair / "flair-1_metadata_aerial.json").rename(flair / "aux-data/flair_aerial_metadata.json")
    first = read_flair(flair).patches.iloc[0]
    assert first[["place", "time", "zone", "date"]].tolist() == ["D004", "2021", "D004/Z10_AU", "2021-07-09"]
    assert first["mask"].endswith("labels/Z10_AU/msk/MSK_000001.tif")


def test_folders_above_the_data_mean_nothing(flair: Path) -> None:
    """Somebody keeps FLAIR below a folder that is named like one of its domains."""
    root = flair / "D099_1999" / "Z9_XX"
    root.mkdir(parents=True)
    (flair / "flair_aerial_train").rename(root / "flair_aerial_train")
    first = read_flair(root).patches.iloc[0]
    assert first[["place", "time", "zone"]].tolist() == ["D004", "2021", "D004/Z10_AU"]


@pytest.mark.parametrize("kept", ["zips as published", "a zip a domain"])
def test_zip_archives_are_read_where_they_lie(kept: str, flair: Path) -> None:
    """Neither IGN's zips nor those of Hugging Face, which have a # in the name of their folder, need be unpacked."""
    whole = read_flair(flair)
    unpacked = [read_patches(whole, rows) for _, rows in whole.patches.groupby("id")]
    if kept == "a zip a domain":
        home = flair / "data/flair#1-test"
        home.mkdir(parents=True)
        train = sorted((flair / "flair_aerial_train").iterdir())
        for domain in train:
            domain.rename(flair / "aerial")
            (flair / "flair_labels_train" / domain.name).rename(flair / "labels")
            _zip(home / f"{domain.name}.zip", flair, [flair / "aerial", flair / "labels"])
    for folder in [*flair.glob("flair_*"), flair / "flair-1_metadata_aerial.json"]:
        _zip(flair / f"{folder.stem}.zip", flair, [folder])
    assert not list(flair.rglob("*.tif"))
    catalog = read_flair(flair)
    columns = ["id", "place", "time", "zone", "date", "x", "camera"]
    assert catalog.patches[columns].equals(whole.patches[columns])
    for expected, (_, rows) in zip(unpacked, catalog.patches.groupby("id"), strict=True):
        found = read_patches(catalog, rows)
        assert np.array_equal(found.images, expected.images) and np.array_equal(found.masks, expected.masks)


def _zip(archive: Path, root: Path, folders: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        for folder in folders:
            for path in sorted([*folder.rglob("*"), folder]):
                if path.is_file():
                    content.write(path, path.relative_to(root))
    for folder in folders:
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def test_archives_left_beside_what_was_unpacked_from_them_are_no_second_copy(flair: Path) -> None:
    whole = read_flair(flair).patches
    shutil.copytree(flair / "flair_aerial_train", flair / "copy/flair_aerial_train")
    _zip(flair / "flair_aerial_train.zip", flair / "copy", [flair / "copy/flair_aerial_train"])
    assert read_flair(flair).patches.equals(whole)


def test_a_damaged_archive_is_named(flair: Path) -> None:
    (flair / "flair_labels_train.zip").write_bytes(b"PK no more")
    with pytest.raises(DataError, match=r"flair_labels_train.zip: no readable zip archive"):
        read_flair(flair)


def test_a_copy_of_both_tests_is_told_apart(flair: Path, write_tiff) -> None:
    """FLAIR #2 shares the training with #1 and five departments of the test, with other areas."""
    write_tiff(flair / "flair_2_aerial_test/D022_2021/Z9_UU/img/IMG_080000.tif", np.zeros((5, 16, 16), np.uint8))
    ids = {name: DATASETS[name](flair).patches["id"].tolist() for name in ("flair1", "flair2")}
    assert ids["flair1"] == ["IMG_000001", "IMG_000002", "IMG_061713"]
    assert ids["flair2"] == ["IMG_000001", "IMG_000002", "IMG_080000"]


def test_height_and_time_of_day(flair: Path, edit_metadata) -> None:
    edit_metadata(lambda m: m["IMG_000001"].update(patch_centroid_z=-4.5, time="9h05"))
    first = read_flair(flair).patches.iloc[0]
    assert (first["z"], first["clock"]) == (-4.5, "09:05")


def test_without_metadata_fields_are_unknown(flair: Path) -> None:
    (flair / "flair-1_metadata_aerial.json").unlink()
    table = read_flair(flair).patches
    assert (table["date"] == "").all()
    assert (table["camera"] == "").all()
    assert table[["x", "y"]].isna().all(axis=None)


def test_missing_entries_and_fields_are_normal(flair: Path, edit_metadata) -> None:
    edit_metadata(lambda m: (m.pop("IMG_000001"), m["IMG_000002"].clear()))
    table = read_flair(flair).patches
    assert table["date"].tolist() == ["", "", "2019-07-09"]
    assert table["x"].isna().tolist() == [True, True, False]


def test_metadata_of_unknown_ids_is_reported(flair: Path, edit_metadata, caplog: pytest.LogCaptureFixture) -> None:
    edit_metadata(lambda m: m.update(IMG_099999={}, IMG_088888={}))
    with caplog.at_level(logging.WARNING):
        assert len(read_flair(flair)) == 3
    assert "2 ids without an image, such as IMG_088888" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": "D005_2021"}, "IMG_000001: domain is 'D005_2021', but its path says 'D004_2021'"),
        ({"zone": "Z1_UU"}, "IMG_000001: zone is 'Z1_UU', but its path says 'Z10_AU'"),
        ({"date": "09/07/2021"}, "IMG_000001: date is '09/07/2021'; expected is YYYY-MM-DD"),
        ({"time": "25h00"}, "IMG_000001: time is '25h00'; expected is HHhMM"),
        ({"patch_centroid_z": "high"}, "patch_centroid_z is 'high'; expected is a number of metres"),
        ({"camera": ["UCE"]}, "camera is \\['UCE'\\]; expected is a text"),
        ({"patch_centroid_x": "east"}, "IMG_000001: patch_centroid_x is 'east'"),
    ],
)
def test_contradicting_metadata_names_the_id(flair: Path, edit_metadata, change: dict[str, str], message: str) -> None:
    edit_metadata(lambda m: m["IMG_000001"].update(change))
    with pytest.raises(DataError, match=message):
        read_flair(flair)


@pytest.mark.parametrize("content", ['{"IMG_000001": {', "[1, 2]", '{"IMG_000001": 3}', "\udcff"])
def test_unreadable_metadata_is_named(flair: Path, content: str) -> None:
    (flair / "flair-1_metadata_aerial.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"flair-1_metadata_aerial.json: "):
        read_flair(flair)


@pytest.mark.parametrize("read", [read_flair, lambda root: check_flair(root, (TRAINING,))])
@pytest.mark.parametrize("missing", [False, True])
def test_a_folder_without_flair_is_named(tmp_path: Path, missing: bool, read: Callable[[Path], object]) -> None:
    root = tmp_path / "nothing"
    if not missing:
        root.mkdir()
    message = "there is no folder .*nothing, which" if missing else r"nothing: no FLAIR images here; .*IMG_000826.tif"
    with pytest.raises(DataError, match=message):
        read(root)


def test_image_outside_a_domain_is_named(flair: Path, write_tiff) -> None:
    write_tiff(flair / "extra/IMG_000009.tif", np.zeros((5, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"extra/IMG_000009.tif: no folder of its path is named like D004_2021"):
        read_flair(flair)


def test_repeated_patches_are_named(flair: Path, write_tiff) -> None:
    again = flair / "toy/D004_2021/Z10_AU/img/IMG_000001.tif"
    write_tiff(again, np.zeros((5, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"IMG_000001 is there twice: .* and "):
        read_flair(flair)
    again.unlink()
    write_tiff(flair / "toy/MSK_000001.tif", np.zeros((16, 16), np.uint8))
    with pytest.raises(DataError, match=r"MSK_000001 is there twice: "):
        read_flair(flair)


def test_a_repeated_number_of_any_length_is_named(flair: Path, write_tiff) -> None:
    for folder in ("one", "two"):
        write_tiff(flair / folder / "D004_2021/Z10_AU/img/IMG_12345678.tif", np.zeros((5, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"IMG_12345678 is there twice: .*/one/.* and .*/two/|.*/two/.* and .*/one/"):
        read_flair(flair)


def test_unknown_class_set(flair: Path) -> None:
    with pytest.raises(DataError, match="'flair-12' is unknown; allowed are flair-13, flair-19"):
        read_flair(flair, class_set="flair-12")


def test_truncated_patch_is_named(flair: Path) -> None:
    catalog = read_flair(flair)
    path = Path(catalog.patches["mask"].iloc[0])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"MSK_000001.tif: cannot be read"):
        read_patches(catalog, catalog.patches.iloc[:1])


# --- the five real patches

REAL = {
    "IMG_000473": ("D004@2021", "D004/Z6_NU", "2021-07-09", "UCE-M3-f120-s06"),
    "IMG_034217": ("D051@2019", "D051/Z15_UN", "2019-08-26", "CAMERA#017"),
    "IMG_036294": ("D055@2018", "D055/Z2_UF", "2018-09-16", "CAMERA#020"),
    "IMG_050549": ("D074@2020", "D074/Z3_UN", "2020-06-23", "UCE-M3-f120-s06"),
    "IMG_084558": ("D036@2020", "D036/Z17_UA", "2020-05-16", "CAMERA#030"),
}


def test_real_catalog(shared_data) -> None:
    catalog = read_flair(shared_data("flair1"))
    table = catalog.patches.assign(domain=catalog.domain).set_index("id")
    found = {name: tuple(row) for name, row in table[["domain", "zone", "date", "camera"]].iterrows()}
    assert found == REAL
    assert (table["mask"] != "").all()
    assert catalog.patch_size == 512


def test_real_pixels(shared_data) -> None:
    catalog = read_flair(shared_data("flair1"), class_set="flair-19")
    for image, rows in catalog.patches.groupby("image"):
        read = read_patches(catalog, rows)
        assert read.images.shape == (1, 5, 512, 512)
        assert read.unknown == {}
        mask = read.masks[0]
        assert np.array_equal(mask[::2, ::2], mask[1::2, 1::2]), image  # FLAIR's labels lie on 2 x 2 blocks


def test_real_class_values(shared_data) -> None:
    """IMG_034217 shows a lake: 79 % water; IMG_050549 an Alpine town: 52 % building."""
    catalog = read_flair(shared_data("flair1"))
    for patch, name, share in (("IMG_034217", "water", 0.794), ("IMG_050549", "building", 0.523)):
        read = read_patches(catalog, catalog.select([patch]).patches)
        assert (read.masks == catalog.classes.names.index(name)).mean() == pytest.approx(share, abs=0.001)


def test_real_georeferencing_is_the_image_s(shared_data) -> None:
    """Four of the five masks have a CRS without an EPSG code, which nothing needs; the images' fit the metadata."""
    catalog = read_flair(shared_data("flair1"))
    codes = []
    for row in catalog.patches.itertuples():
        with rasterio.open(row.mask) as mask, rasterio.open(row.image) as image:
            codes.append(mask.crs.to_epsg())
            assert image.crs.to_epsg() == 2154
            assert image.xy(256, 256, offset="ul") == pytest.approx((row.x, row.y), abs=0.01)
        assert read_mask(Path(row.mask)).shape == (512, 512)
    assert codes.count(None) == 4


def test_real_patches_without_labels(shared_data, tmp_path: Path) -> None:
    """A copy in which there are only the images and no metadata."""
    for image in shared_data("flair1").rglob("IMG_*.tif"):
        link = tmp_path / image.relative_to(shared_data("flair1"))
        link.parent.mkdir(parents=True)
        shutil.copy(image, link)
    catalog = read_flair(tmp_path)
    assert len(catalog) == 5
    assert (catalog.patches["mask"] == "").all()
    assert not read_patches(catalog, catalog.patches.iloc[:1]).has_mask


@pytest.mark.parametrize("name", ["IMG_000001.tif", "flair-1_metadata_aerial.json", "img", "more"])
def test_a_link_that_leads_out_is_refused(flair: Path, tmp_path_factory, name: str) -> None:
    outside = tmp_path_factory.mktemp("outside") / name
    if name == "more":
        outside.mkdir()
        (flair / name).symlink_to(outside)
    else:
        (path,) = [path for path in flair.rglob(name) if "D004_2021" in str(path) or name.endswith("json")]
        path.rename(outside)
        path.symlink_to(outside)
    with pytest.raises(DataError, match="is a link that leads out of the data set's folder"):
        read_flair(flair)


def test_links_in_circles_end(flair: Path) -> None:
    for name in ("a", "b", "c"):
        (flair / name).symlink_to(flair)
    assert len(read_flair(flair)) == 3


@pytest.mark.parametrize("content", ["[" * 100_000, '{"IMG_000001": ' + "9" * 5000 + "}"])
def test_absurd_metadata_is_one_line(flair: Path, content: str) -> None:
    (flair / "flair-1_metadata_aerial.json").write_text(content)
    with pytest.raises(DataError, match=r"flair-1_metadata_aerial\.json: no readable JSON"):
        read_flair(flair)


def test_what_a_mac_leaves_beside_files_is_no_file(flair: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in [*flair.rglob("*.tif"), *flair.rglob("*.json")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    hidden = flair / "__MACOSX/D004_2021/Z10_AU/IMG_000009.tif"
    hidden.parent.mkdir(parents=True)
    hidden.write_bytes(b"\0")
    with caplog.at_level(logging.WARNING):
        assert len(read_flair(flair)) == 3
    assert "6 files are hidden, and left out, such as" in caplog.text


def test_metadata_of_no_image_is_told(flair: Path, edit_metadata, caplog: pytest.LogCaptureFixture) -> None:
    edit_metadata(lambda m: [m.update({key[4:]: m.pop(key)}) for key in list(m)])
    with caplog.at_level(logging.WARNING):
        assert (read_flair(flair).patches["date"] == "").all()
    assert "not one of the 3 entries of the metadata is of an image here" in caplog.text


def test_metadata_may_be_of_any_unicode_encoding(flair: Path) -> None:
    path = flair / "flair-1_metadata_aerial.json"
    text = path.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert (read_flair(flair).patches["date"] != "").all()


def test_two_entries_of_one_patch_are_refused(flair: Path) -> None:
    path = flair / "flair-1_metadata_aerial.json"
    text = path.read_text()
    (flair / "metadata2.json").write_text(text.replace("07-09", "07-10"))
    with pytest.raises(DataError, match=r"IMG_\d+ has the date '\d+-07-10', and '\d+-07-09' in another metadata file"):
        read_flair(flair)
    (flair / "metadata2.json").write_text('{"IMG_000001": {"time": "9h05"}}')
    rows = read_flair(flair).patches.set_index("id")
    assert rows.loc["IMG_000001", ["date", "clock"]].tolist() == ["2021-07-09", "09:05"]
    (flair / "metadata2.json").write_text('{"IMG_000001": {"time": "9h05"}, "IMG_000001": {"time": "9h06"}}')
    with pytest.raises(DataError, match="has two entries 'IMG_000001'"):
        read_flair(flair)
