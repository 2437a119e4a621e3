"""`landshift map` beside the engine: previews, comparisons, and wrong arguments."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from benchmark.cli.app import main
from benchmark.experiments import results
from benchmark.maps import predict, trained

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
        (["3f2a", "--compare", "a.tif", "b.tif"], "neither a run nor images, such as '3f2a'"),
        (["3f2a"], "give a run and its images"),
        (["--compare", "a.tif", "b.tif"], "a.tif: no such file"),
    ],
)
def test_wrong_arguments_are_one_line(words, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["map", *words, "--output", str(tmp_path / "out")]) == 1
    assert reason in capsys.readouterr().err


def test_a_preview_is_written_beside_its_map(write_map, tmp_path, monkeypatch, capsys):
    made = write_map(VALUES, facts={"bands": "red, green, blue"})
    with rasterio.open(made.path) as file:
        profile = file.profile | {"count": 3, "nodata": None}
    with rasterio.open(tmp_path / "town.tif", "w", **profile) as file:
        file.write(np.full((3, 2, 2), 99, np.uint8))
    monkeypatch.setattr(results, "has_results", lambda folder: True)
    monkeypatch.setattr(trained, "find_run", lambda *arguments: SimpleNamespace(id="3f2a", name="dann"))
    monkeypatch.setattr(predict, "make_maps", lambda *arguments: [made.path])
    words = ["map", "3f2a", str(tmp_path / "town.tif"), "--output", str(tmp_path), "--results", str(tmp_path)]
    assert main(words) == 0 and not list(tmp_path.glob("*preview*"))
    assert main([*words, "--preview"]) == 0
    assert "town.preview.html" in capsys.readouterr().out
    assert '"title": "image"' in (tmp_path / "town.preview.html").read_text(encoding="utf-8")
