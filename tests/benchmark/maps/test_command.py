"""``landshift map`` on the command line, and `landshift.map` in Python."""

import pytest
import rasterio

import landshift
from benchmark.cli.app import main


@pytest.fixture
def command(finished, tmp_path, capsys):
    """Return a function that runs the command, and returns its status and what it printed."""

    def command(*words: object) -> tuple[int, str, str]:
        places = ["--output", tmp_path / "maps", "--results", finished.results.folder, "--accelerator", "cpu"]
        status = main(list(map(str, ["map", *words, *places])))
        return status, *capsys.readouterr()

    return command


def test_images_are_mapped_and_a_second_command_has_nothing_to_do(command, write_image, tmp_path):
    write_image(32, 32, "one"), write_image(20, 32, "two")
    status, printed, errors = command("best:source-only", tmp_path / "*.tif", "--date", "2021-07-14")
    assert (status, errors) == (0, "") and "source-only · 2020 · seed 0" in printed
    assert f"written: {tmp_path / 'maps' / 'two.classes.tif'}" in printed
    with rasterio.open(tmp_path / "maps" / "one.classes.tif") as made:
        assert made.tags(ns="LANDSHIFT")["image_date"] == "2021-07-14" and made.overviews(1) == []
    again = command("best:source-only", tmp_path / "*.tif", "--date", "2021-07-14")[1]
    assert "is there already" in again and "written" not in again


def test_what_is_wrong_is_said_in_one_line(command, write_image, tmp_path):
    image = write_image(32, 32, "one", crs=None)
    for words, message in (
        (("best:dann", image), "there is no finished run of 'dann'"),
        (("best:source-only", image), "has no coordinate system"),
        (("best:source-only", tmp_path / "none.tif"), "none.tif: no such file"),
        (("best:source-only", write_image(32, 32, "two"), image), "has no coordinate system"),
        (("best:source-only", image, "--mosaic", "a/b"), "without a folder, not 'a/b'"),
        (("best:source-only", image, "--coding", "cosia", "--blocks", "49"), "such as D049_2022, not '49'"),
        (("best:tent", write_image(32, 32, "two"), "--workers", 2, "--window", 16), "one worker alone can do that"),
    ):
        status, _, errors = command(*words)
        assert not (tmp_path / "maps").exists() or words[0] == "best:tent"
        assert status == 1 and errors.count("\n") == 1 and message in errors


def test_a_date_that_does_not_exist_is_refused(command, tmp_path, capsys):
    with pytest.raises(SystemExit):
        command("best:source-only", tmp_path / "one.tif", "--date", "2021-13-02")
    assert "a day such as 2021-07-09 is allowed, not '2021-13-02'" in capsys.readouterr().err


def test_maps_are_made_in_python(finished, write_image, tmp_path):
    image = write_image(32, 32, "one", crs=None)
    (made,) = landshift.map(
        "best:source-only", str(image), tmp_path, results=finished.results.folder, accelerator="cpu", no_crs=True
    )
    with rasterio.open(made) as file:
        assert made == tmp_path / "one.classes.tif" and file.crs is None
