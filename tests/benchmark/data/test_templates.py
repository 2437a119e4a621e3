"""Names are read in one way or not at all, and found however a disk writes them."""

import logging
import unicodedata
from pathlib import Path

import pytest

from benchmark.common.errors import DataError
from benchmark.data.folder import read_folder
from benchmark.data.templates import Folders, fill, find, of_date, placeholders


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def _found(root: Path, template: str, *exclude: str) -> list[dict[str, str]]:
    return list(find(template, list(exclude), root.resolve()).values())


# --- captures


@pytest.mark.parametrize(
    ("template", "name", "captured"),
    [
        ("{place}_{year:4}_{n}.tif", "los_gatos_2018_7.tif", {"place": "los_gatos", "year": "2018", "n": "7"}),
        ("{p}_{year:%Y}_{n}.tif", "san_jose_2018_7.tif", {"p": "san_jose", "year": "2018", "n": "7"}),
        ("{place:[a-z_]+}_{rest}.tif", "ab_1_2.tif", {"place": "ab", "rest": "1_2"}),
        ("{day:%d%m%y}{part:[a-z]{2}}.tif", "030419ab.tif", {"day": "030419", "part": "ab"}),
        ("{a}/{a}_{b}.tif", "x_1/x_1_2.tif", {"a": "x_1", "b": "2"}),
        ("{x}-{y:2}.tif", "a-b-cd.tif", {"x": "a-b", "y": "cd"}),
    ],
)
def test_captures_take_widths_and_patterns(tmp_path: Path, template: str, name: str, captured: dict[str, str]) -> None:
    _touch(tmp_path, name)
    assert _found(tmp_path, template) == [captured]
    assert placeholders("image", template) == list(captured)


@pytest.mark.parametrize(
    ("template", "name", "one", "other"),
    [
        (
            "{town}_{date}_{tile}.png",
            "new_york_2019_3.png",
            "town 'new', date 'york', tile '2019_3'",
            "town 'new_york'",
        ),
        ("{a}{b}/i.png", "abc/i.png", "a 'a', b 'bc'", "a 'ab', b 'c'"),
        ("{a:[a-z_]+}_{b}.png", "a_b_c.png", "a 'a', b 'b_c'", "a 'a_b', b 'c'"),
    ],
)
def test_two_readings_are_refused_and_shown(tmp_path: Path, template: str, name: str, one: str, other: str) -> None:
    _touch(tmp_path, name)
    with pytest.raises(DataError, match=f"{name} can be read by .* as {one}.* and as {other}.*{{year:%Y}}"):
        _found(tmp_path, template)


@pytest.mark.parametrize("template", ["{a:[}.png", "{a:%Q}.png", "{a:4.png", "{a:(}.png"])
def test_what_a_placeholder_cannot_say_is_refused(tmp_path: Path, template: str) -> None:
    _touch(tmp_path, "x.png")
    with pytest.raises(DataError, match=r"key 'image': (\{a:.*\} holds no width|a brace of)"):
        _found(tmp_path, template)


def test_a_date_that_is_none_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "20211345.png")
    with pytest.raises(DataError, match=r"'20211345' of 20211345\.png is no time of the form %Y%m%d"):
        _found(tmp_path, "{d:%Y%m%d}.png")


def test_a_captured_date_gives_date_clock_year_month_and_season(edit_description, tmp_path: Path) -> None:
    for tile in ("Tile 1", "Tile 2"):
        (tmp_path / tile / "images/p1.png").rename(tmp_path / tile / "images/05.12.2021T0930.png")
        (tmp_path / tile / "masks/p1.png").rename(tmp_path / tile / "masks/2021-12-05.png")
    edit_description("images/{part}.png", "images/{taken:%d.%m.%YT%H%M}.png")
    edit_description("masks/{part}.png", "masks/{taken:%Y-%m-%d}.png")
    keys = 'time = "{year}_{season}"\ncamera = "{month}"\nclock = "{taken}"\nplace ='
    catalog = read_folder(edit_description("place =", keys))
    row = catalog.patches.iloc[0]
    assert row[["date", "clock", "time", "camera"]].tolist() == ["2021-12-05", "09:30", "2021_dec-feb", "12"]
    assert row["mask"].endswith("2021-12-05.png")


def test_the_seasons_are_of_three_months() -> None:
    months = [of_date(f"2020-{month:02d}-01")["season"] for month in range(1, 13)]
    assert months == ["dec-feb"] * 2 + ["mar-may"] * 3 + ["jun-aug"] * 3 + ["sep-nov"] * 3 + ["dec-feb"]


def test_a_width_is_for_reading_only() -> None:
    with pytest.raises(DataError, match="which only 'image' does"):
        fill("place", "{a:4}", {"a": "abcd"})
    assert fill("place", "{a:%Y}/{b}{", {"a": "2020-02-01", "b": "c"}) == "2020/c{"


@pytest.mark.parametrize("text", ["beach", "B", "north"])
def test_a_time_that_is_none_is_refused(edit_description, text: str) -> None:
    with pytest.raises(DataError, match=f"key 'time': '{text}' of .* is no time"):
        read_folder(edit_description("place =", f'time = "{text}"\nplace ='))


@pytest.mark.parametrize("text", ["2018_01", "summer", "leaf-on", "t1", "May"])
def test_a_time_may_be_a_word(edit_description, text: str) -> None:
    assert read_folder(edit_description("place =", f'time = "{text}"\nplace =')).patches["time"].iloc[0] == text


# --- which files


def test_hidden_files_are_left_out_and_counted(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for tile in ("Tile 1", "Tile 2"):
        _touch(tmp_path, f"{tile}/images/._p1.png", f"{tile}/images/Thumbs.db", f"__MACOSX/{tile}/images/p1.png")
        _touch(tmp_path, f".cache/{tile}.png", f"{tile}/masks/._p1.png", f"@eaDir/images/{tile}.png")
    with caplog.at_level(logging.WARNING):
        assert len(read_folder(folder)) == 8
    assert "2 files are hidden, and left out, such as" in caplog.text
    _touch(tmp_path, ".kept/1.png")
    assert _found(tmp_path, ".kept/{n}.png") == [{"n": "1"}]


def test_endings_match_in_any_case(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Tile 1/images/p1.png").rename(tmp_path / "Tile 1/images/p1.PNG")
    (tmp_path / "Tile 2/masks/p1.png").rename(tmp_path / "Tile 2/masks/p1.Png")
    catalog = read_folder(folder)
    assert len(catalog) == 8 and (catalog.patches["mask"] != "").all()
    _touch(tmp_path, "P2.png")
    with pytest.raises(DataError, match="no file in"):
        _found(tmp_path, "p{n}.png")


def test_of_two_files_that_differ_in_case_neither_is_guessed(folder: Path, tmp_path: Path) -> None:
    mask = tmp_path / "Tile 1/masks/p1.png"
    (tmp_path / "Tile 1/masks/p1.PNG").write_bytes(mask.read_bytes())
    mask.rename(mask.with_suffix(".pNg"))
    with pytest.raises(DataError, match=r"differ only in case; which is p1\.png"):
        read_folder(folder)


def test_another_ending_of_the_same_kind_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _touch(tmp_path, "a.jpg", "b.jpeg", "c.png", "d.JPEG")
    with caplog.at_level(logging.WARNING):
        assert _found(tmp_path, "{n}.jpg") == [{"n": "a"}]
    assert "2 files are of another ending, such as" in caplog.text and "b.jpeg" in caplog.text


def test_names_have_one_unicode_form(folder: Path, tmp_path: Path, edit_description) -> None:
    forms = {"Tile 1": "NFD", "Tile 2": "NFC"}
    for year, (tile, form) in enumerate(forms.items(), 2019):
        for kind in ("images", "masks"):
            new = (
                tmp_path / str(year) / unicodedata.normalize(form, "Besançon") / unicodedata.normalize(form, kind + "é")
            )
            new.mkdir(parents=True)
            (tmp_path / tile / kind / "p1.png").rename(new / "p1.png")
    edit_description("{tile}/images/", "{year}/{tile}/imagesé/")
    edit_description("{tile}/masks/", unicodedata.normalize("NFD", "{year}/{tile}/masksé/"))
    edit_description("place =", 'table = "t.csv"\ntable_key = "{tile}"\ntime = "{year}"\ncamera = "{which}"\nplace =')
    (tmp_path / "t.csv").write_text(unicodedata.normalize("NFD", "town,which\nBesançon,Caméra\n"), encoding="utf-8")
    catalog = read_folder(folder)
    assert set(catalog.patches["place"]) == {"Besançon"} and set(catalog.patches["camera"]) == {"Caméra"}
    assert (catalog.patches["mask"] != "").all() and all(Path(path).is_file() for path in catalog.patches["image"])
    assert set(catalog.patches["zone"]) == {f"{year}/Besançon/imagesé/p1.png" for year in (2019, 2020)}


def test_two_forms_of_one_name_in_a_folder_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"{unicodedata.normalize(form, 'Évry')}/{form}.png" for form in ("NFC", "NFD")))
    with pytest.raises(DataError, match="are one name in two Unicode forms; rename one"):
        _found(tmp_path, "{town}/{part}.png")


def test_a_file_that_is_not_there_stays_where_it_was_looked_for(tmp_path: Path) -> None:
    assert Folders().real(tmp_path, "a/b.png") == tmp_path / "a/b.png"
    assert Folders().real(tmp_path, "a/../b.png") == tmp_path / "a/../b.png"
