"""`landshift map` beside the engine: previews, comparisons, and wrong arguments."""

import numpy as np
import pytest

from benchmark.cli.app import main

VALUES = np.array([[1, 3], [7, 10]], np.uint8)


def test_two_maps_are_compared_and_doubts_are_said_first(write_map, tmp_path, capsys):
    a, b = write_map(VALUES, VALUES, "a"), write_map(VALUES.T.copy(), VALUES, "b")
    assert main(["map", "--compare", str(a.path), str(b.path), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.index("WARNING: The date of an image is not known") < said.index("50.00% of the pixels")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"change.classes.tif", "change.csv", "change.preview.png", "change.preview.html"} <= files
    assert 'ul class="warnings"' in (tmp_path / "out" / "change.preview.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["3f2a", "--compare", "a.tif", "b.tif"], "two maps and nothing else, not 3f2a"),
        (["--compare", "a.tif", "b.tif", "--zones", "z.gpkg"], "two maps and nothing else, not --zones"),
        (["3f2a"], "give a run and its images"),
        (["--compare", "a.tif", "b.tif"], "a.tif: no such file"),
    ],
)
def test_wrong_arguments_are_one_line(words, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["map", *words, "--output", str(tmp_path / "out")]) == 1
    assert reason in capsys.readouterr().err


def test_a_preview_is_written_beside_a_map_also_of_one_that_is_there(finished, write_image, tmp_path, capsys):
    image = write_image(40, 70)
    places = ["--output", tmp_path / "maps", "--results", finished.results.folder, "--accelerator", "cpu"]
    words = list(map(str, ["map", "best:source-only", image, *places]))
    assert main(words) == 0 and not list((tmp_path / "maps").glob("*preview*"))
    assert main([*words, "--preview"]) == 0
    printed = capsys.readouterr().out
    assert "is there already" in printed and "written: " in printed and "town.preview.html" in printed
    page = (tmp_path / "maps" / "town.preview.html").read_text(encoding="utf-8")
    assert '"title": "image"' in page and '"title": "confidence"' in page and "source-only" in page
