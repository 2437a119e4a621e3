import numpy as np
import pytest
import rasterio

from benchmark.common.errors import DataError
from benchmark.data.classes import FLAIR_13, FLAIR_19, ClassSet, LandClass
from benchmark.maps.legend import Legend
from benchmark.maps.map_file import name_of, read_map


def test_a_map_says_what_it_is(write_map):
    values = np.array([[1, 3], [7, 255]], np.uint8)
    made = write_map(values, values, facts={"method": "dann", "fold": "2021"})
    assert made.facts == {"method": "dann", "fold": "2021"}
    assert made.legend.values == (1, 3, 7, 10) and made.legend.classes[0].french == "bâtiment"
    assert (made.height, made.width, made.crs.to_epsg()) == (2, 2, 2154)
    assert made.confidence is not None and name_of(made.path) == "town"


def test_another_raster_is_no_map(tmp_path):
    path = tmp_path / "image.tif"
    with rasterio.open(path, "w", driver="GTiff", height=2, width=2, count=1, dtype="uint8") as file:
        file.write(np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(DataError, match="no map of classes"):
        read_map(path)
    with pytest.raises(DataError, match=r"is a folder; give the file \*.classes.tif in it"):
        read_map(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_map(tmp_path / "none.tif")


def test_values_are_those_of_the_masks():
    assert Legend.of(FLAIR_13).values == tuple(range(1, 13))
    assert Legend.of(FLAIR_19).values == (*range(1, 15), 18)
    colors = ClassSet("c", (LandClass("a", "#000001", (1,)), LandClass("b", "#ffffff", (0xFFFFFF,))), (), True)
    assert Legend.of(colors).values == (1, 2)
    large = ClassSet("l", (LandClass("a", "#000001", (1,)), LandClass("b", "#ffffff", (300,))))
    assert Legend.of(large).values == (1, 2)
    assert Legend.from_text(Legend.of(FLAIR_19).as_text()) == Legend.of(FLAIR_19)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"coding": "a", "classes": []}', '{"coding": "a", "classes": [1]}'])
def test_a_damaged_legend_is_one_error(text):
    with pytest.raises(DataError, match="legend"):
        Legend.from_text(text)
