"""Blocks are proposed where a place has too few images to be parted, in metres where the files say where they are."""

import pytest
import rasterio

from benchmark.data.layout import read_layout
from benchmark.data.look import read_header
from benchmark.data.zone_guess import guess_blocks, patch_size


def _folder(root, names, crs, side=512):
    root.mkdir()
    for number, name in enumerate(names):
        where = rasterio.transform.from_origin(500_000 + 9_000 * number, 5_000_000, 0.5, 0.5)
        profile = {"count": 1, "height": side, "width": side, "dtype": "uint16", "transform": where, "crs": crs}
        rasterio.open(root / name, "w", driver="GTiff", sparse_ok=True, **profile).close()
    layout = read_layout(root, lambda below: False)
    return layout, {below: read_header(root / below) for below in layout.images}


@pytest.mark.parametrize(
    ("names", "crs", "side", "guess"),
    [
        (["ulm.tif", "bonn.tif"], "EPSG:32632", 512, (64, "block:64 m")),
        (["ulm.tif", "bonn.tif"], "EPSG:32632", 2048, (256, "block:256 m")),
        (["ulm.tif", "bonn.tif"], "EPSG:32632", 4200, (512, "block:512 m")),
        (["ulm.tif", "bonn.tif"], "EPSG:2227", 512, (64, "{stem}/block:128 px")),  # feet
        (["ulm_2019.tif", "ulm_2020.tif", "bonn_2020.tif"], "EPSG:2227", 512, (64, "{place}/block:128 px")),
        (["ulm_2019.tif", "ulm_2020.tif", "bonn_2020.tif"], "EPSG:32632", 512, (64, "block:64 m")),
        (["ulm.tif", "bonn.tif"], "EPSG:32632", 256, None),
        ([f"{town}_{number}.tif" for town in ("ulm", "bonn") for number in range(4)], "EPSG:32632", 512, None),
    ],
)
def test_blocks_where_a_place_has_few_images(tmp_path, names, crs, side, guess):
    layout, images = _folder(tmp_path / "d", names, crs, side)
    assert guess_blocks(layout, images, side) == guess


def test_patches_are_whole_small_images_or_parts_without_rest():
    assert [patch_size(side) for side in (100, 512, 1024, 768, 1000)] == [100, 512, 512, 256, 256]
