import io
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.classes import FLAIR_13, FLAIR_19, ClassSet, LandClass
from benchmark.maps import submission
from benchmark.maps.submission import CHALLENGES, Challenge, check_submission, write_submission


@pytest.fixture(autouse=True)
def three_images(monkeypatch):
    monkeypatch.setitem(CHALLENGES, "flair1", Challenge("PRED_IMG_", range(61_713, 61_716)))


@pytest.fixture
def catalog(tmp_path):
    """Return a catalog of three images of the test and one of the training, each of one number."""
    rows = []
    for number in (4, 61_713, 61_714, 61_715):
        path = tmp_path / f"IMG_{number:06}.png"
        Image.fromarray(np.full((512, 512), number % 100, np.uint8)).save(path)
        rows.append({"id": path.stem, "image": str(path), "place": "D012", "zone": "Z1", "row": 0, "column": 0})
    patches = pd.DataFrame(rows).reindex(columns=[*COLUMNS]).fillna({"x": np.nan, "y": np.nan, "z": np.nan})
    patches = patches.fillna(dict.fromkeys(("mask", "time", "date", "clock", "camera"), ""))
    return Catalog("flair1", FLAIR_19, ("grey",), 512, patches)


def predict(images):
    """Return for image 61,713 the output 0, for 61,714 the output 13 ("snow") and for 61,715 the output 11."""
    return np.array([0, 13, 11], np.uint8)[images[:, 0] - 13]


def pixels(target):
    with zipfile.ZipFile(target) as archive:
        return {file: np.asarray(Image.open(io.BytesIO(archive.read(file)))) for file in archive.namelist()}


def test_a_submission_is_what_the_challenge_reads(catalog, tmp_path):
    seen = []
    target = tmp_path / "out.zip"
    assert (
        write_submission(catalog, "flair1", predict, target, batch=2, on_progress=lambda *done: seen.append(done)) == 3
    )
    found = pixels(target)
    assert list(found) == ["PRED_IMG_061713.tif", "PRED_IMG_061714.tif", "PRED_IMG_061715.tif"]
    assert [each.shape for each in found.values()] == [(512, 512)] * 3 and seen == [(2, 3), (3, 3)]
    assert [np.unique(each).tolist() for each in found.values()] == [[0], [12], [11]]
    assert not list(tmp_path.glob("*.part*"))
    with zipfile.ZipFile(target) as archive, archive.open("PRED_IMG_061713.tif") as file, Image.open(file) as picture:
        assert picture.info["compression"] == "tiff_lzw"
    first = target.read_bytes()
    write_submission(catalog, "flair1", predict, target)
    assert target.read_bytes() == first
    assert check_submission(target, "flair1") == 3


def test_the_challenges_have_their_images():
    assert submission.CHALLENGES["flair2"].file(77_413) == "PRED_077413.tif"
    assert len(CHALLENGES["flair2"].numbers) == 16_050


def test_missing_images_are_refused_or_allowed(catalog, tmp_path):
    some = replace(catalog, patches=catalog.patches.iloc[:3])
    with pytest.raises(DataError, match=r"has 2 of the 3 images of the challenge's test; PRED_IMG_061715.tif would be"):
        write_submission(some, "flair1", predict, tmp_path / "out.zip")
    assert write_submission(some, "flair1", predict, tmp_path / "out.zip", partial=True) == 2
    with pytest.raises(DataError, match="has 0 of the 16,050"):
        write_submission(some, "flair2", predict, tmp_path / "out.zip", partial=True)


def test_another_data_set_is_refused(catalog, tmp_path):
    other = ClassSet("two", (LandClass("a", "#000001", (1,)), LandClass("b", "#000002", (2,))))
    for wrong, message in (
        (replace(catalog, classes=other), "has the classes of FLAIR's masks, and flair1 those of two"),
        (replace(catalog, patch_size=256), "has images of 512 x 512"),
        (replace(catalog, scale=0.5), "has images of 512 x 512"),
    ):
        with pytest.raises(DataError, match=message):
            write_submission(wrong, "flair1", predict, tmp_path / "out.zip")
    with pytest.raises(SettingsError, match="'flair3' does not exist"):
        write_submission(replace(catalog, classes=FLAIR_13), "flair3", predict, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_wrong_files_are_found(tmp_path):
    def tiff(pixels):
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "TIFF")
        return content.getvalue()

    def check(content, message, name="PRED_IMG_061714.tif", others=True):
        files = {f"PRED_IMG_{number:06}.tif": tiff(good) for number in (61_713, 61_714, 61_715) if others}
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for file, held in (files | {name: content}).items():
                archive.writestr(file, held)
        with pytest.raises(DataError, match=message):
            check_submission(tmp_path / "a.zip", "flair1")

    good = np.zeros((512, 512), np.uint8)
    check(tiff(good[:256]), "061714.tif: is 512 x 256 of L, not")
    check(tiff(good.astype(np.int32)), "061714.tif: is 512 x 512 of I, not")
    check(tiff(good + 13), "061714.tif: has the value 13, above 12")
    check(b"text", "061714.tif: is no TIFF")
    check(tiff(good), "MSK_061714.tif is none of the challenge's files, such as PRED_IMG_061713.tif", "MSK_061714.tif")
    check(tiff(good), "has 1 of the 3", others=False)
    (tmp_path / "no.zip").write_text("text")
    with pytest.raises(DataError, match=r"no.zip: cannot be read"):
        check_submission(tmp_path / "no.zip", "flair1")
