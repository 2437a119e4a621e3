import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.classes import FLAIR_13
from benchmark.maps.coding import legend_for
from benchmark.maps.ign_blocks import write_blocks
from benchmark.maps.legend import NO_DATA
from benchmark.maps.map_file import read_map

COSIA = legend_for(FLAIR_13, "cosia")[0]


@pytest.fixture
def made(write_map):
    """Return a map of 30 km by 15 km, from 415 km and 6,712.5 km on, whose third column of blocks has no data."""
    values = np.random.default_rng(0).choice(np.array(COSIA.values, np.uint8), (6, 12))
    values[:, 6:10] = NO_DATA
    return write_map(values, legend=COSIA, resolution=2500, corner=(415_000, 6_712_500), facts={"no_data_share": "0.1"})


def test_rasters_of_blocks_are_the_map(made, tmp_path):
    seen = []
    paths = write_blocks(made, tmp_path / "out", "D049_2022", on_progress=lambda *done: seen.append(done))
    assert [path.name for path in paths] == [
        f"D049_2022_{west}_{north}.tif" for north in (6720, 6710, 6700) for west in (410, 420, 440)
    ]
    assert seen[-1] == (12, 12)
    with rasterio.open(made.path) as file:
        whole = file.read(1)
    count = 0
    for path in paths:
        part = read_map(path)
        assert part.legend == COSIA and "no_data_share" not in part.facts
        west, north = (int(text) * 1000 for text in path.stem.split("_")[2:])
        box = rasterio.transform.array_bounds(part.height, part.width, part.transform)
        assert west <= box[0] < box[2] <= west + 10_000 and north - 10_000 <= box[1] < box[3] <= north
        row, column = round((6_712_500 - box[3]) / 2500), round((box[0] - 415_000) / 2500)
        with rasterio.open(path) as file:
            assert np.array_equal(file.read(1), whole[row : row + part.height, column : column + part.width])
        count += part.height * part.width
    assert count == whole[:, [0, 1, 2, 3, 4, 5, 10, 11]].size


def test_polygons_of_blocks_have_ign_s_attributes(made, tmp_path):
    paths = write_blocks(made, tmp_path / "out", "D02A_2022", vectors=True)
    assert len(paths) == 9 and paths[1].name == "D02A_2022_420_6720_vecto.gpkg"
    about, _, shapes, values = pyogrio.raw.read(paths[1], layer=paths[1].stem)
    assert about["fields"].tolist() == ["numero", "classe"]
    names = {each.value: each.french for each in COSIA.classes}
    assert [names[number] for number in values[0].tolist()] == values[1].tolist()
    assert shapely.total_bounds(shapely.from_wkb(shapes)).tolist() == [420_000, 6_710_000, 430_000, 6_712_500]


def test_what_ign_would_not_read_is_refused(made, write_map, tmp_path):
    with pytest.raises(SettingsError, match="such as D049_2022, not '49'"):
        write_blocks(made, tmp_path / "out", "49")
    with pytest.raises(DataError, match="has the coding small; IGN's blocks are in that of cosia"):
        write_blocks(write_map(np.ones((2, 2), np.uint8)), tmp_path / "out", "D049_2022")
    for crs in ("EPSG:3857", None):
        with pytest.raises(DataError, match="France's coordinate systems"):
            write_blocks(write_map(np.ones((2, 2), np.uint8), legend=COSIA, crs=crs), tmp_path / "out", "D049_2022")
    assert not (tmp_path / "out").exists()
