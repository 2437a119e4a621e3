"""A user's data is read as its description says, and each mistake in the description gets one clear line."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.errors import DataError
from benchmark.data.classes import IGNORE
from benchmark.data.folder import read_folder
from benchmark.data.patches import read_patches
from benchmark.data.store import open_store


def test_one_row_a_window(folder: Path) -> None:
    catalog = read_folder(folder)
    assert catalog.patches["id"].tolist() == [
        f"Tile {tile}/p1/{window}" for tile in (1, 2) for window in ("r0_c0", "r0_c8", "r8_c0", "r8_c8")
    ]
    first = catalog.patches.iloc[0]
    assert first[["place", "time", "zone", "date"]].tolist() == ["Tile 1", "", "Tile 1/images/p1.png", ""]
    assert first["image"] == str(folder.parent / "Tile 1/images/p1.png")
    assert catalog.classes.names == ("building", "land")
    assert catalog.bands == ("red", "green", "blue")


def test_color_masks_are_encoded(folder: Path) -> None:
    catalog = read_folder(folder)
    read = read_patches(catalog, catalog.patches.iloc[:4])
    assert set(np.unique(read.masks)) == {0, 1, IGNORE}
    assert (read.masks == IGNORE).sum() == 2 * 8 * 4  # padding only


def test_scale_shrinks_the_grid(edit_description) -> None:
    catalog = read_folder(edit_description("patch_size = 8", "patch_size = 8\nscale = 0.5"))
    assert catalog.patches["id"].tolist() == ["Tile 1/p1/r0_c0", "Tile 2/p1/r0_c0"]  # 8 x 6
    assert read_patches(catalog, catalog.patches.iloc[:1]).images.shape == (1, 3, 8, 8)


def test_some_of_the_bands_can_be_taken_by_name(edit_description) -> None:
    whole = read_folder(edit_description("patch_size = 8", "patch_size = 8"))
    some = read_folder(edit_description("patch_size = 8", 'patch_size = 8\nuse = ["blue", "red"]'))
    assert (some.bands, some.file_bands) == (("blue", "red"), ("red", "green", "blue"))
    rows = whole.patches.iloc[:4]
    assert np.array_equal(read_patches(some, rows).images, read_patches(whole, rows).images[:, [2, 0]])
    assert np.array_equal(read_patches(some, rows).masks, read_patches(whole, rows).masks)


def test_a_choice_of_bands_is_other_data(edit_description, folder: Path, tmp_path: Path) -> None:
    stores = [open_store(read_folder(folder), tmp_path / "stores")]
    for use in ('["blue", "red"]', '["red", "blue"]'):
        chosen = edit_description("patch_size = 8\n", f"patch_size = 8\nuse = {use}\n")
        stores.append(open_store(read_folder(chosen), tmp_path / "stores"))
        edit_description(f"use = {use}\n", "")
    assert len({store.digest for store in stores}) == 3
    assert [store.read(np.array([0])).shape for store in stores] == [(1, 3, 8, 8), (1, 2, 8, 8), (1, 2, 8, 8)]
    assert open_store(read_folder(folder), tmp_path / "stores").digest == stores[0].digest


def test_all_bands_by_name_are_the_same_data(edit_description) -> None:
    catalog = read_folder(edit_description("patch_size = 8", 'patch_size = 8\nuse = ["red", "green", "blue"]'))
    assert (catalog.bands, catalog.file_bands) == (("red", "green", "blue"), ())


def test_a_description_builds_on_one_of_landshifts(tmp_path: Path, write_tiff) -> None:
    for name in ("a_2016_1", "chico_2016_1"):
        write_tiff(tmp_path / f"images/{name}.tif", np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8))
        write_tiff(tmp_path / f"masks/{name}.tif", np.ones((8, 8), np.uint8))
    (tmp_path / "index.csv").write_text("id,place,year,location,x_min,y_max\na_2016_1,a,2016,1,0,0\n")
    description = tmp_path / "nir.toml"
    description.write_text('base = "trees"\nname = "nir"\npatch_size = 8\nuse = ["nir", "red"]\n')
    catalog = read_folder(description)
    assert (catalog.name, catalog.patch_size, catalog.classes.names) == ("nir", 8, ("background", "tree"))
    assert catalog.patches["zone"].tolist() == ["a_1"], "what the base leaves out stays out"
    assert read_patches(catalog, catalog.patches).images[0, :, 0, 0].tolist() == [3 * 64, 0]


def test_root_argument_wins(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "descriptions"
    elsewhere.mkdir()
    moved = folder.rename(elsewhere / "tiny.toml")
    assert len(read_folder(moved, tmp_path)) == 8
    moved.write_text('root = ".."\n' + moved.read_text())
    assert len(read_folder(moved)) == 8


def test_table_keeps_codes_as_text(edit_description, tmp_path: Path) -> None:
    """2018_01 is a number to Python and pandas; here it is a time."""
    (tmp_path / "t.csv").write_text(
        "\ufefftile,code,when,east,count(4)\nTile 1,2018_01,2018-01-31,7,3\nTile 2,02,,,1\n"
    )
    keys = 'table = "t.csv"\ntable_key = "{tile}"\ntime = "{code}"\ndate = "{when}"\nx = "{east}"\nzone = "z{east}"'
    catalog = read_folder(edit_description('place = "{tile}"', f'place = "{{tile}}"\n{keys}'))
    rows = catalog.patches.groupby("place").first()
    assert rows["time"].tolist() == ["2018_01", "02"]
    assert rows["date"].tolist() == ["2018-01-31", ""]
    assert rows["zone"].tolist() == ["z7", "z"]
    assert rows["x"].iloc[0] == 7
    assert np.isnan(rows["x"].iloc[1])
    assert catalog.domain.iloc[0] == "Tile 1@2018_01"


@pytest.mark.parametrize("pattern", ["bad_*", "Tile 1/images/bad_1.*"])
def test_exclude(pattern, edit_description, write_picture, tmp_path: Path) -> None:
    write_picture(tmp_path / "Tile 1/images/bad_1.png", np.zeros((8, 8, 3), np.uint8))
    path = edit_description('place = "{tile}"', f'place = "{{tile}}"\nexclude = ["{pattern}"]')
    assert len(read_folder(path)) == 8


def test_placeholders_may_share_a_path_component(write_picture, tmp_path: Path, edit_description) -> None:
    for name in ("lyon_2019_a_1", "lyon_2020_a_1", "nice-2019"):
        write_picture(tmp_path / f"flat/{name}.png", np.zeros((8, 8, 3), np.uint8))
    path = edit_description('image = "{tile}/images/{part}.png"', 'image = "flat/{tile}_{year:4}_{part}.png"')
    path = edit_description('mask = "{tile}/masks/{part}.png"', 'time = "{year}"')
    assert read_folder(path).patches["id"].tolist() == ["lyon/2019/a_1/r0_c0", "lyon/2020/a_1/r0_c0"]


def test_a_repeated_placeholder_is_one_thing(write_picture, tmp_path: Path, edit_description) -> None:
    for name in ("lyon/lyon_1", "lyon/nice_1"):
        write_picture(tmp_path / f"flat/{name}.png", np.zeros((8, 8, 3), np.uint8))
    path = edit_description('image = "{tile}/images/{part}.png"', 'image = "flat/{tile}/{tile}_{part}.png"')
    path = edit_description('mask = "{tile}/masks/{part}.png"', "")
    assert read_folder(path).patches["id"].tolist() == ["lyon/1/r0_c0"]


def test_index_masks_and_tiffs(tmp_path: Path, write_tiff, edit_description) -> None:
    rng = np.random.default_rng(0)
    values = np.array([4, 6, 2, 8], np.uint8)[rng.integers(0, 4, (8, 8))]
    write_tiff(tmp_path / "a/i.tif", rng.integers(0, 4000, (4, 8, 8)).astype(np.uint16))
    write_tiff(tmp_path / "a/m.tif", values)
    edit_description("{tile}/images/{part}.png", "{tile}/i.tif")
    edit_description("{tile}/masks/{part}.png", "{tile}/m.tif")
    edit_description('["red", "green", "blue"]', '["red", "green", "blue", "nir"]')
    edit_description('["#9b9b9b"]', "[2]")
    edit_description('"#3c1098"', '"#3c1098"\nvalue = 4')
    catalog = read_folder(edit_description('"#8429F6"', '"#8429F6"\nvalue = [6, 8]'))
    read = read_patches(catalog, catalog.patches)
    expected = np.select([values == 4, values == 2], [0, IGNORE], 1)
    assert np.array_equal(read.masks[0], expected)
    assert read.images.dtype == np.uint16 and read.images.max() > 3900


def test_a_key_of_old_descriptions_is_told(edit_description) -> None:
    with pytest.raises(DataError, match=r"key 'maximum' is not needed any more.*remove it"):
        read_folder(edit_description("patch_size = 8", "patch_size = 8\nmaximum = 4000"))


def test_missing_masks_are_reported_unless_all_are_missing(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "Tile 2/masks/p1.png").unlink()
    with caplog.at_level(logging.WARNING):
        assert (read_folder(folder).patches["mask"] == "").sum() == 4
    assert "1 of 2 images have no mask, such as" in caplog.text
    (tmp_path / "Tile 1/masks/p1.png").unlink()
    with pytest.raises(DataError, match=r"'mask': not one of the 2 images has its mask; looked for .*masks/p1.png"):
        read_folder(folder)


@pytest.mark.parametrize(("pixels", "tolerated"), [(19, True), (20, False)])
def test_color_that_is_no_class(folder: Path, tmp_path: Path, write_picture, pixels: int, tolerated: bool) -> None:
    """The description allows a tenth of the 192 pixels."""
    mask = np.full((12 * 16, 3), (0x3C, 0x10, 0x98), np.uint8)
    mask[:pixels] = (0xFF, 0, 0xAA)
    mask[100:] = 0x9B  # expected, so it does not count
    write_picture(tmp_path / "Tile 1/masks/p1.png", mask.reshape(12, 16, 3))
    catalog = read_folder(folder)
    rows = catalog.patches.iloc[:4]
    if tolerated:
        assert read_patches(catalog, rows).unknown == {0xFF00AA: pixels}
        return
    message = r"Tile 1/masks/p1.png: 10.417% .* at most 10.000% .* found #ff00aa \(10.417%\); known are #3c1098"
    with pytest.raises(DataError, match=message):
        read_patches(catalog, rows)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "tiny"', 'nmae = "tiny"', "unknown key 'nmae'; allowed are name, root, bands"),
        ('name = "tiny"', "", "key 'name' is missing"),
        ('name = "tiny"', 'name = "tiny', "no readable TOML"),
        ("patch_size = 8", 'patch_size = "8"', "'patch_size' must be an integer of at least 1, not '8'"),
        ("patch_size = 8", "patch_size = true", "'patch_size' must be an integer"),
        ("patch_size = 8", "patch_size = 8\nscale = 2", "'scale' must be a number above 0 and at most 1, not 2"),
        ("unknown_share = 0.1", "unknown_share = 10", "'unknown_share' must be a number from 0 to 1, not 10"),
        ('["red", "green", "blue"]', "3", "'bands' must be a list of names"),
        ('["red", "green", "blue"]', '["red", "red", "blue"]', "band names must be unique"),
        ("patch_size = 8", "patch_size = 8\nuse = []", "'use' must be a list of names of bands"),
        ("patch_size = 8", 'patch_size = 8\nuse = ["nir"]', "the files have no band 'nir', but red, green, blue"),
        (
            "patch_size = 8",
            'patch_size = 8\nuse = ["red", "red"]',
            r"band names must be unique and not empty, not \['red",
        ),
        ('name = "tiny"', 'name = "tiny"\nbase = "tiny"', "'base' must be one of brunei, dubai, trees, not 'tiny'"),
        ('name = "tiny"', 'name = "tiny"\nbase = ["trees"]', "'base' must be one of brunei"),
        (
            'place = "{tile}"',
            'place = "{town}"',
            "'place': nothing gives {town} of '{town}'; known are part, stem, tile",
        ),
        ("masks/{part}.png", "masks/{no}.png", "'mask': nothing gives {no}"),
        ('"{tile}/images/{part}.png"', '"../{part}.png"', "'image' must be a path below the root"),
        (
            '"{tile}/images/{part}.png"',
            '"{tile}/img/{part}.png"',
            "'image': no file in .* matches '{tile}/img/{part}.png'",
        ),
        ('place = "{tile}"', 'place = "{tile}"\nexclude = ["*"]', "matches .* and is not excluded"),
        ('place = "{tile}"', 'place = "{tile}"\ntable = "no.csv"', "'table': .*no.csv is no readable CSV"),
        ('place = "{tile}"', 'place = "{tile}"\ntable = "t.csv"', "'table': t.csv has no row 'p1' for .*p1.png"),
        ('place = "{tile}"', 'place = "{tile}"\ndate = "{part}"', "'date': 'p1' of .*p1.png is no date"),
        ('place = "{tile}"', 'place = "{tile}"\nx = "{part}"', "'x': 'p1' of .*p1.png is no number"),
        ('place = "{tile}"', 'place = "{tile}"\nid = "{part}"', "ids are not unique: p1/r0_c0"),
        ('["#9b9b9b"]', "[9]", "'ignore' must hold colours as the classes do"),
        ('["#9b9b9b"]', '["gray"]', "colour 'gray' must be '#'"),
        ('["#9b9b9b"]', '["#3c1098"]', "mask values must be unique; repeated: #3c1098"),
        ('color = "#3c1098"', 'color = "purple"', "colour 'purple' must be '#'"),
        ('color = "#3c1098"', 'color = "#8429f6"', "colours must be unique"),
        ('color = "#3c1098"', "", "classes, number 1: key 'color' is missing"),
        (
            'color = "#3c1098"',
            'color = "#3c1098"\nvalues = 3',
            "classes, number 1: unknown key 'values'; allowed are name,",
        ),
        ('color = "#3c1098"', 'color = "#3c1098"\nvalue = "3"', "number 1: key 'value' must be an integer or a list"),
        ('color = "#3c1098"', 'color = "#3c1098"\nvalue = 3', r"only some have a 'value' \(building\)"),
        ('name = "land"', 'name = "Building"', "names .* must be unique; repeated: building"),
    ],
)
def test_mistakes_in_a_description(edit_description, tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "t.csv").write_text("stem,a\nother,1\n")
    path = edit_description(old, new)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{message}") as caught:
        read_folder(path)
    assert "\n" not in str(caught.value)


def test_repeated_rows_of_a_table(edit_description, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("stem,a\np1,1\np1,2\n")
    with pytest.raises(DataError, match="several rows 'p1'"):
        read_folder(edit_description('place = "{tile}"', 'place = "{tile}"\ntable = "t.csv"'))


def test_empty_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"tiny.toml: key 'image': no file in .*/empty matches"):
        read_folder(folder, tmp_path / "empty")


def test_description_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.toml: no readable TOML"):
        read_folder(tmp_path / "gone.toml")


@pytest.mark.parametrize("out", ["../other", "/tmp"])
@pytest.mark.parametrize("key", ["mask", "table"])
def test_nothing_below_the_root_leads_out_of_it(edit_description, key: str, out: str) -> None:
    old = 'mask = "{tile}/masks/{part}.png"'
    new = f'mask = "{out}/x.png"' if key == "mask" else f'table = "{out}/x.csv"'
    with pytest.raises(DataError, match=rf"key '{key}': {out}/x\.\w+ leads out of"):
        read_folder(edit_description(old, new))


@pytest.mark.parametrize("link", ["Tile 1/images/p1.png", "Tile 1/images", "Tile 1"])
def test_a_link_that_leads_out_is_refused(folder: Path, tmp_path_factory, link: str) -> None:
    outside = tmp_path_factory.mktemp("outside") / "moved"
    (folder.parent / link).rename(outside)
    (folder.parent / link).symlink_to(outside)
    with pytest.raises(DataError, match=r"key 'image': .*p1\.png is a link, or below one, that leads out"):
        read_folder(folder)


def test_a_link_within_the_root_is_read(folder: Path) -> None:
    (folder.parent / "Tile 1/images").rename(folder.parent / "moved")
    (folder.parent / "Tile 1/images").symlink_to(folder.parent / "moved")
    assert len(read_folder(folder)) == 8


def test_a_patch_size_that_makes_too_many_patches_is_refused(edit_description, monkeypatch) -> None:
    monkeypatch.setattr("benchmark.data.folder.MOST_WINDOWS", 100)
    with pytest.raises(DataError, match=r"key 'patch_size': 1 cuts .* into 192 patches"):
        read_folder(edit_description("patch_size = 8", "patch_size = 1"))


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000, '"\\u001b[31m"', '"' + "x" * 2000 + '"', '"a\\nb"'])
def test_absurd_values_of_a_description_are_one_line(edit_description, value: str) -> None:
    with pytest.raises(DataError, match=r"tiny\.toml: ") as caught:
        read_folder(edit_description('name = "tiny"', f"name = {value}"))
    assert len(str(caught.value)) < 600 and "\x1b" not in str(caught.value)
