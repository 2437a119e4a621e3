"""``landshift map`` with the files that it writes beside a map."""

import re
import signal
import zipfile

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from benchmark.cli.app import main
from benchmark.maps import predict, submission, windows
from benchmark.maps.map_file import read_map
from benchmark.maps.submission import CHALLENGES, Challenge


@pytest.fixture(autouse=True)
def signals_as_they_were():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def mapped(finished, tmp_path, monkeypatch):
    """Return a function that runs the command on some paths, and returns its exit status and its folder."""
    monkeypatch.setattr(windows, "BLOCK", 512)
    monkeypatch.setattr(predict, "LARGEST_MARGIN", 96)  # which is measured the faster

    def run(method, *arguments):
        results = ["--results", str(finished.results.folder), "--accelerator", "cpu"]
        out = tmp_path / "maps"
        record = finished.runs[method]
        return main(["map", record.id, *map(str, arguments), "--output", str(out), *results]), out

    return run


def test_a_map_comes_with_style_and_polygons(mapped, write_image):
    status, out = mapped("source-only", write_image(60, 50), "--vectors", "--min-area", "0.5", "--simplify", "0.3")
    assert status == 0 and (out / "town.classes.qml").is_file() and (out / "town.classes.tif.aux.xml").is_file()
    made = read_map(out / "town.classes.tif")
    _, _, shapes, _ = pyogrio.raw.read(out / "town.gpkg", layer="town")
    area = made.height * made.width * abs(made.transform.determinant)
    assert shapely.area(shapely.from_wkb(shapes)).sum() == pytest.approx(area)


def test_a_map_is_cut_as_cosia(mapped, write_image):
    status, out = mapped("source-only", write_image(40, 50), "--coding", "cosia", "--blocks", "D049_2022", "--vectors")
    made = read_map(out / "D049_2022_700_6600.tif")
    assert status == 0 and made.legend.coding == "cosia" and (made.height, made.width) == (40, 50)
    _, _, _, (numbers, names) = pyogrio.raw.read(
        out / "D049_2022_700_6600_vecto.gpkg", layer="D049_2022_700_6600_vecto"
    )
    with rasterio.open(made.path) as file:
        assert set(numbers.tolist()) == set(np.unique(file.read()).tolist())
    assert set(names) <= {each.french for each in made.legend.classes} and not (out / "town.gpkg").exists()


@pytest.mark.parametrize("method", ["source-only", "tent"])
def test_a_run_is_submitted_to_a_challenge(mapped, world, run, monkeypatch, method):
    numbers = sorted(int(path.stem[4:]) for path in world.rglob("IMG_*.tif"))[:20]
    monkeypatch.setitem(CHALLENGES, "flair2", Challenge("PRED_", range(numbers[0], numbers[-1] + 1)))
    monkeypatch.setattr(submission, "_SIZE", run.images.patch_size)
    status, out = mapped(method, world, "--submission", "flair2", "--partial")
    with zipfile.ZipFile(out / "flair2.zip") as archive:
        assert status == 0 and archive.namelist() == [f"PRED_{number:06}.tif" for number in numbers]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--min-area", "3"], "add --vectors"),
        (["--blocks", "D049_2022"], "add --coding cosia"),
        (["--partial"], "--partial is of --submission"),
        (["--submission", "flair1", "--vectors"], "--submission makes no map"),
        (["--simplify", "-1"], "a number of at least 0 is allowed, not '-1'"),
    ],
)
def test_options_that_do_not_fit_are_refused(mapped, write_image, capsys, options, message):
    try:
        status, _ = mapped("source-only", write_image(20, 20), *options)
    except SystemExit as stop:  # of argparse
        status = stop.code
    assert status and re.search(message, capsys.readouterr().err)
