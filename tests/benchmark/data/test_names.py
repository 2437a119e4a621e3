"""Names of images: templates that read them in one way, and what is a place, a time, a date."""

import pytest

from benchmark.common.errors import DataError
from benchmark.data.names import image_names


def _read(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return image_names(folder, names)


def test_a_place_may_hold_the_separator(tmp_path):
    names, captures = _read(tmp_path, "i/long_beach_2016_24.tif", "i/chico_2018_1.tif", "i/chico_2016_1.tif")
    assert names.template == "i/{place:[a-z_]+}_{year:4}_{n}.tif"
    assert (names.place, names.time, names.zone) == ("{place}", "{year}", "{place}_{n}")
    assert captures["i/long_beach_2016_24.tif"] == {"place": "long_beach", "year": "2016", "n": "24"}


def test_where_a_width_leaves_two_readings_all_captures_get_patterns(tmp_path):
    names, captures = _read(tmp_path, "oak_city_2016_24.tif", "chico_2018_1.tif")
    assert names.template == "{place:[a-z_]+}_{year:%Y}_{n:[0-9]+}.tif"
    assert captures["oak_city_2016_24.tif"]["place"] == "oak_city"


@pytest.mark.parametrize(
    ("first", "second", "date", "time"),
    [
        ("20210709", "20220305", "{date:%Y%m%d}", "{year}"),
        ("2021-07-09", "2022-03-05", "{date:%Y-%m-%d}", "{year}"),
        ("09_07_2021", "05_03_2022", "{date:%d_%m_%Y}", "{year}"),
        ("20210709T101031", "20220305T101031", "{date:%Y%m%dT%H%M%S}", "{year}"),
        ("202107", "202203", "{date:%Y%m}", "{date}"),
    ],
)
def test_dates_are_found(tmp_path, first, second, date, time):
    names, _ = _read(tmp_path, f"T32TQM_{first}_1.tif", f"T32TQM_{second}_1.tif")
    assert date in names.template and names.time == time


def test_numbers_that_are_no_dates_stay_numbers(tmp_path):
    names, _ = _read(tmp_path, "20211301.tif", "20211302.tif")
    assert names.template == "{n}.tif" and names.time == "" and names.place == ""


def test_folders_are_places_with_their_whole_name_and_splits_are_none(tmp_path):
    names, _ = _read(tmp_path, "train/Tile 1/images/part_1.jpg", "val/Tile 2/images/part_2.jpg")
    assert names.template == "{split}/{place}/images/part_{n}.jpg" and names.place == "{place}"


def test_row_and_column_and_the_number_of_an_image_in_a_year(tmp_path):
    names, _ = _read(tmp_path, "2018_01_r00_c18.tif", "2019_02_r01_c19.tif", "2019_03_r01_c17.tif")
    assert names.template == "{year:4}_{n}_r{row}_c{column}.tif"
    assert names.zone == "{row}_{column}" and "{n} follows the year" in names.remarks[0]


def test_seasons_are_times(tmp_path):
    names, _ = _read(tmp_path, "a/summer_1.png", "b/winter_2.png")
    assert names.time == "{period}" and names.zone == "{place}_{n}"


def test_a_year_between_names_that_are_built_unlike(tmp_path):
    names, captures = _read(tmp_path, "bad-ems2_2019_x.tif", "ulm_2020_yy-z.tif")
    assert captures["ulm_2020_yy-z.tif"]["year"] == "2020" and names.time == "{year}"


def test_files_that_fit_and_are_no_images_are_excluded(tmp_path):
    (tmp_path / "ulm_mask.tif").touch()
    names, captures = _read(tmp_path, "ulm.tif", "bad_ems.tif")
    assert names.exclude == ["*_mask"] and set(captures) == {"ulm.tif", "bad_ems.tif"}
    (tmp_path / "_[-.tif").touch()
    (tmp_path / "bonn.tif").touch()
    assert image_names(tmp_path, ["ulm.tif", "bonn.tif"])[0].exclude == ["*_ems", "*_mask", "_[[]-"]


def test_names_that_no_template_reads_are_an_error(tmp_path):
    with pytest.raises(DataError, match="no template was found for the images, such as caf"):
        _read(tmp_path, "caf\u00e9_1.tif", "cafe\u0301_1.tif")
