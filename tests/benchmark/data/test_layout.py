"""Layouts: which files are images, which their masks, and the template from one to the other."""

import pytest

from benchmark.common.errors import DataError
from benchmark.data.layout import read_layout


def _layout(folder, *names, classes=()):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return read_layout(folder, lambda below: below in classes)


@pytest.mark.parametrize(
    ("image", "mask", "template"),
    [
        ("images/{}.tif", "masks/{}.tif", "masks/{stem}.tif"),
        ("Tile {}/images/p.jpg", "Tile {}/masks/p.PNG", "{place}/masks/{stem}.PNG"),
        ("{}.jpg", "{}_gt.png", "{stem}_gt.png"),
        ("{}_sat.jpg", "{}_mask.png", "{n}_mask.png"),
        ("{}_refl.tif", "{}_label.tif", "{n}_label.tif"),
        ("img/IMG_{}.tif", "msk/MSK_{}.tif", "msk/MSK_{n}.tif"),
        ("2_Ortho_RGB/top_{}_RGB.tif", "5_Labels_all/top_{}_label.tif", "5_Labels_all/top_{n}_label.tif"),
        ("train/{}.png", "ground_truth/{}.png", "ground_truth/{stem}.png"),
    ],
)
def test_masks_are_found_by_what_names_say(tmp_path, image, mask, template):
    layout = _layout(tmp_path, *(text.format(number) for number in (1, 2, 3) for text in (image, mask)))
    assert layout.mask == template and not layout.lonely_masks
    assert layout.images[image.format(2)] == mask.format(2)


def test_where_names_do_not_say_content_does(tmp_path):
    layout = _layout(tmp_path, "a1.jpg", "a1.png", "a2.jpg", "a2.png", classes={"a1.png"})
    assert layout.mask == "{stem}.png" and set(layout.images) == {"a1.jpg", "a2.jpg"}


@pytest.mark.parametrize("image", ["{}", "{}_rgb"])
def test_a_last_word_says_mask_where_these_files_hold_classes(tmp_path, image):
    towns = ("arles", "bad_ems", "ulm")
    names = [f"{form.format(town)}.tif" for town in towns for form in (image, "{}_landcover")]
    layout = _layout(tmp_path, *names, "use.gpkg", classes={"arles_landcover.tif"})
    assert layout.images == {f"{image.format(town)}.tif": f"{town}_landcover.tif" for town in towns}
    assert _layout(tmp_path, classes={*names}).mask == "use.gpkg"  # all rasters look alike


def test_what_is_no_pair_is_listed(tmp_path):
    names = ["i/1.tif", "i/2.tif", "i/3.tif", "masks/1.tif", "masks/2.tif", "masks/4.tif", "dem/1.png", "t.csv"]
    layout = _layout(tmp_path, *names, "i/.2.tif", "i/Thumbs.db")
    assert layout.images == {"i/1.tif": "masks/1.tif", "i/2.tif": "masks/2.tif", "i/3.tif": ""}
    assert layout.lonely_masks == ["masks/4.tif"] and layout.tables == ["t.csv"]
    assert layout.others == {"*/*.png": ["dem/1.png"]}


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        _layout(tmp_path, "a.txt")
