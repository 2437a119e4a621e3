"""A copy of FLAIR is compared with what was published: what is missing, damaged or elsewhere is told by its path."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.data import flair_check
from benchmark.data.flair import TEST_1, TEST_2, TRAINING
from benchmark.data.flair_check import Check, check_flair
from protocols.columns import read_table
from protocols.files import FOLDER

SIZE = 16
NUMBERS = (range(1, 3), range(61_713, 61_714))
TABLE = (
    ["place", "time", "patches", "first_id", "last_id"],
    [["D004", "2021", "1", "1", "1"], ["D004", "2019", "1", "2", "2"], ["D012", "2019", "", "61713", "61713"]],
)
AERIAL, LABELS = "flair_aerial_train/D004_2021/Z10_AU/img", "flair_labels_train/D004_2021/Z10_AU/msk"
TEST_MASK = "flair_labels_test/D012_2019/Z2_UU/msk/MSK_061713.tif"


@pytest.fixture
def whole(flair: Path, write_tiff: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy without a fault: three patches of 16 pixels, and a published table that says so."""
    monkeypatch.setattr(flair_check, "SIZE", SIZE)
    monkeypatch.setattr(flair_check, "read_table", lambda path: TABLE)
    write_tiff(flair / TEST_MASK, np.full((SIZE, SIZE), 19, np.uint8))
    return flair


def _faults(check: Check) -> list[tuple[str, str, str]]:
    """Domain or "", kind, path."""
    found = [("", kind, name) for kind, names in check.faults.items() for name in names]
    return found + [(d.domain, kind, name) for d in check.domains for kind, names in d.faults.items() for name in names]


def test_a_whole_copy_is_as_published(whole: Path) -> None:
    check = check_flair(whole, NUMBERS)
    assert _faults(check) == [] and check.undated == []
    assert [(domain.domain, domain.patches) for domain in check.domains] == [
        ("D004_2019", 1),
        ("D004_2021", 1),
        ("D012_2019", 1),
    ]
    assert check.groups == [("D012_2019", 1, 1)]
    assert check.verdict() == (True, "3 patches, as published")


Edit = Callable[[Path, Callable[..., Path]], object]


def _image(*shape: int, dtype: Any = np.uint8) -> Edit:
    return lambda root, write: write(root / AERIAL / "IMG_000001.tif", np.ones(shape, dtype))


def _mask(array: np.ndarray) -> Edit:
    return lambda root, write: write(root / LABELS / "MSK_000001.tif", array)


def _truncate(path: str) -> Edit:
    return lambda root, write: (root / path).write_bytes((root / path).read_bytes()[:-200])


STRANGE = np.ones((SIZE, SIZE), np.uint8)
STRANGE[0, :2] = 0, 20


@pytest.mark.parametrize(
    ("edit", "domain", "kind", "where"),
    [
        (
            lambda root, write: (root / LABELS / "MSK_000001.tif").unlink(),
            "D004_2021",
            "missing masks",
            "IMG_000001.tif",
        ),
        (_truncate(f"{AERIAL}/IMG_000001.tif"), "D004_2021", "unreadable files", "IMG_000001.tif: cannot be read"),
        (_truncate(f"{LABELS}/MSK_000001.tif"), "D004_2021", "unreadable files", "MSK_000001.tif: cannot be read"),
        (
            _image(4, SIZE, SIZE),
            "D004_2021",
            "files with another number of bands",
            "IMG_000001.tif: has 4 bands where 5 are expected",
        ),
        (
            _mask(np.ones((3, SIZE, SIZE), np.uint8)),
            "D004_2021",
            "files with another number of bands",
            "MSK_000001.tif: 3 bands where one band",
        ),
        (
            lambda root, write: (root / "flair_labels_val.zip").write_bytes(b"PK, the rest was not downloaded"),
            "",
            "unreadable archives",
            "flair_labels_val.zip: no readable zip archive",
        ),
        (_image(5, 8, SIZE), "D004_2021", "files of another size", "IMG_000001.tif: 16 x 8 x 5 of uint8"),
        (_image(5, SIZE, SIZE, dtype=np.uint16), "D004_2021", "files of another size", "16 x 16 x 5 of uint16"),
        (_mask(STRANGE[:, :8]), "D004_2021", "files of another size", "MSK_000001.tif: 8 x 16 of uint8"),
        (_mask(STRANGE), "D004_2021", "masks with values outside 1 to 19", "MSK_000001.tif: [0, 20]"),
        (
            lambda root, write: (root / AERIAL).rename(root / AERIAL.replace("D004_2021", "D004_2019") / "again"),
            "D004_2019",
            "images in another domain's folder",
            "D004_2019/Z10_AU/img/again/IMG_000001.tif",
        ),
        (
            lambda root, write: (root / AERIAL).rename(root / "loose"),
            "",
            "images in no domain's folder",
            "loose/IMG_000001.tif",
        ),
        (
            lambda root, write: shutil.copytree(root / AERIAL, root / "z/D004_2021/Z10_AU"),
            "",
            "files that are there twice",
            "IMG_000001.tif",
        ),
        (
            lambda root, write: (root / AERIAL / "IMG_000001.tif").unlink(),
            "",
            "masks without an image",
            "MSK_000001.tif",
        ),
        (
            lambda root, write: (root / AERIAL / "IMG_000001.tif").unlink(),
            "",
            "metadata entries without an image",
            "IMG_000001",
        ),
    ],
)
def test_a_fault_is_told_by_its_path(
    edit: Edit, domain: str, kind: str, where: str, whole: Path, write_tiff: Callable[..., Path]
) -> None:
    edit(whole, write_tiff)
    check = check_flair(whole, NUMBERS)
    told = [(home, name) for home, found, name in _faults(check) if found == kind]
    assert len(told) == 1 and told[0][0] == domain and where in told[0][1]
    good, verdict = check.verdict()
    assert not good and f"1 {kind}" in verdict and verdict.endswith("unpack or download it again")


@pytest.mark.parametrize("change", [{"domain": "D004_2020"}, {"zone": "Z1_UU"}])
def test_metadata_that_contradicts_the_path_is_a_fault(whole: Path, edit_metadata: Any, change: dict[str, str]) -> None:
    """Such a copy could not be opened: the catalog refuses it."""
    edit_metadata(lambda metadata: metadata["IMG_000001"].update(change))
    told = [("D004_2021", "images that the metadata puts elsewhere", str(whole / AERIAL / "IMG_000001.tif"))]
    assert _faults(check_flair(whole, NUMBERS)) == told


@pytest.mark.parametrize(
    ("change", "kind", "where"),
    [
        ({"date": "2021-02-30"}, "values of the metadata that cannot be used", "IMG_000001: date is '2021-02-30'"),
        ({"time": "25h00"}, "values of the metadata that cannot be used", "IMG_000001: time is '25h00'"),
        ({"camera": 7}, "values of the metadata that cannot be used", "IMG_000001: camera is 7"),
        ({"patch_centroid_z": "high"}, "values of the metadata that cannot be used", "patch_centroid_z is 'high'"),
        ({"patch_centroid_x": 2.35, "patch_centroid_y": 48.85}, "coordinates outside France", "IMG_000001.tif"),
    ],
)
def test_impossible_metadata_are_told(
    whole: Path, edit_metadata: Any, change: dict[str, object], kind: str, where: str
) -> None:
    edit_metadata(lambda metadata: metadata["IMG_000001"].update(change))
    ((domain, found, name),) = _faults(check_flair(whole, NUMBERS))
    assert (domain, found) == ("D004_2021", kind) and where in name


def test_an_image_without_metadata_is_told_and_no_fault(whole: Path, edit_metadata: Any) -> None:
    edit_metadata(lambda metadata: metadata.pop("IMG_000001"))
    check = check_flair(whole, NUMBERS)
    assert check.undated == [str(whole / AERIAL / "IMG_000001.tif")]
    good, verdict = check.verdict()
    assert good and "1 patches have no metadata, so no protocol by date or camera" in verdict


def test_a_date_of_another_year_is_told_and_no_fault(whole: Path, edit_metadata: Any) -> None:
    edit_metadata(lambda metadata: metadata["IMG_000001"].update(date="2031-07-09"))
    check = check_flair(whole, NUMBERS)
    assert check.misdated == ["IMG_000001: 2031-07-09"] and _faults(check) == []
    assert "; 1 patches are dated in another year than their folder's" in check.verdict()[1]


def test_a_damaged_file_in_an_archive_is_found_by_its_checksum(whole: Path) -> None:
    """GDAL reads it without a word where the damage still decodes."""
    image = next((whole / AERIAL).iterdir())
    name = f"D004_2021/Z10_AU/img/{image.name}"
    with zipfile.ZipFile(whole / "flair_aerial_train.zip", "w") as archive:
        archive.write(image, name)
    content = bytearray((whole / "flair_aerial_train.zip").read_bytes())
    content[content.index(image.read_bytes()[-60:-20]) + 10] ^= 1
    (whole / "flair_aerial_train.zip").write_bytes(content)
    image.unlink()
    ((_, kind, where),) = _faults(check_flair(whole, NUMBERS))
    assert kind == "unreadable files" and "Bad CRC-32" in where


def test_missing_patches_are_counted_by_domain_and_by_group(whole: Path) -> None:
    for name in ("flair_aerial_test", "flair_aerial_train/D004_2019"):
        shutil.rmtree(whole / name)
    check = check_flair(whole, NUMBERS)
    assert {domain.domain: domain.patches for domain in check.domains} == {
        "D004_2019": 0,
        "D004_2021": 1,
        "D012_2019": 0,
    }
    assert check.groups == [("D012_2019", 0, 1)]
    assert check.missing() == {"D004_2019": 1, "D012_2019": 1}
    assert "2 missing patches" in check.verdict()[1]


def test_what_belongs_to_another_data_set_is_left_alone(whole: Path, write_tiff: Callable[..., Path]) -> None:
    write_tiff(whole / "flair_2_aerial_test/D022_2021/Z9_UU/img/IMG_080000.tif", np.zeros((5, 1, 1), np.uint8))
    write_tiff(whole / "flair_2_labels_test/D022_2021/Z9_UU/msk/MSK_080001.tif", np.zeros((1, 1), np.uint8))
    told = "3 patches, as published; 1 images are of another data set (see --dataset)"
    assert check_flair(whole, NUMBERS).verdict() == (True, told)


def test_progress_comes_to_the_end(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flair_check, "AT_ONCE", 2)
    seen: list[tuple[int, int]] = []
    check_flair(whole, NUMBERS, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_by_names_alone_no_image_is_opened(whole: Path) -> None:
    for path in whole.rglob("*.tif"):
        path.write_bytes(b"")
    assert check_flair(whole, NUMBERS, names_only=True).verdict()[0]
    assert "6 unreadable files" in check_flair(whole, NUMBERS).verdict()[1]


# --- what was published


def test_published_counts_of_flair_1(flair: Path) -> None:
    check = check_flair(flair, (TRAINING, TEST_1), names_only=True)
    domains = {domain.domain: domain for domain in check.domains}
    assert len(domains) == 50 + 1  # and D004_2019, which is only here
    expected = {"D004_2021": 1800, "D012_2019": 1750, "D075_2021": 750, "D083_2020": 2025, "D058_2020": 1800}
    assert {name: domains[name].expected for name in expected} == expected
    assert check.groups == [
        ("10 domains, D034_2021 to D055_2018", 0, 12_787),
        ("2 domains, D060_2021 to D063_2019", 0, 3_575),
        ("6 domains, D077_2021 to D091_2021", 0, 10_100),
    ]
    known = sum(domain.expected for domain in check.domains if domain.expected == domain.expected)
    assert known + sum(expected for _, _, expected in check.groups) == 77_412
    # Of D004_2021's 1800 one is here, of D012_2019's 1750 one, and the third lies in a domain that was not published.
    assert f"{77_412 - 2:,} missing patches" in check.verdict()[1]
    assert list(domains["D004_2019"].faults) == ["images in another domain's folder"]


def test_published_counts_of_flair_2(flair: Path, write_tiff: Callable[..., Path]) -> None:
    """The same training; of the test only the sum is known, and the test of FLAIR #1 is none of it."""
    write_tiff(flair / "flair_2_aerial_test/D022_2021/Z9_UU/img/IMG_080000.tif", np.zeros((5, 16, 16), np.uint8))
    check = check_flair(flair, (TRAINING, TEST_2), names_only=True)
    assert check.groups[0] == ("test of FLAIR #2", 1, 16_050) and len(check.groups) == 4
    domains = {domain.domain: domain for domain in check.domains}
    assert "D012_2019" not in domains and domains["D004_2021"].expected == 1800
    assert domains["D022_2021"].patches == 1 and np.isnan(domains["D022_2021"].expected)
    assert f"{61_712 + 16_050 - 2:,} missing patches" in check.verdict()[1]


def test_real_patches_have_no_fault(shared_data: Callable[[str], Path]) -> None:
    check = check_flair(shared_data("flair1"), (TRAINING, TEST_2))
    assert _faults(check) == [] and check.undated == []
    found = {domain.domain: domain.patches for domain in check.domains if domain.patches}
    assert found == dict.fromkeys(("D004_2021", "D036_2020", "D051_2019", "D055_2018", "D074_2020"), 1)


@pytest.mark.slow
def test_all_names_of_flair_1_in_its_archives_are_as_published(tmp_path: Path) -> None:
    """77,412 empty images and masks, a zip a domain; departments that share a range of numbers get equal pieces."""
    header, rows = read_table(FOLDER / "tables" / "flair1-departments.csv")
    departments = pd.DataFrame(rows, columns=header).astype({"first_id": int, "last_id": int})
    for (first, last), group in departments.groupby(["first_id", "last_id"]):
        names = (group["place"] + "_" + group["time"]).tolist()
        for name, numbers in zip(names, np.array_split(np.arange(first, last + 1), len(names)), strict=True):
            _empty_archive(tmp_path / f"{name}.zip", numbers.tolist())
    check = check_flair(tmp_path, (TRAINING, TEST_1), names_only=True)
    good, verdict = check.verdict()
    assert good and verdict.startswith("77,412 patches, as published; 77,412 patches have no metadata")
    _empty_archive(tmp_path / "D004_2021.zip", list(range(1, 1800)))
    assert (
        "not as published: 1 missing patches" in check_flair(tmp_path, (TRAINING, TEST_1), names_only=True).verdict()[1]
    )


def _empty_archive(archive: Path, numbers: list[int]) -> None:
    with zipfile.ZipFile(archive, "w") as content:
        for number in numbers:
            content.writestr(f"aerial/Z1_UU/img/IMG_{number:06d}.tif", b"")
            content.writestr(f"labels/Z1_UU/msk/MSK_{number:06d}.tif", b"")
