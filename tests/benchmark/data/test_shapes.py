"""What a patch looks like, known without the files."""

from benchmark.data.datasets import DATASETS
from benchmark.data.shapes import Shape, shape_in, shape_of


def test_every_named_data_set_has_a_shape():
    assert {name for name in DATASETS if shape_of(name) is None} == set()
    assert shape_of("flair1") == Shape(5, 512, 12) and shape_of("flair1-19").classes == 15
    assert shape_of("dubai") == Shape(3, 128, 5)
    assert shape_of("trees") == Shape(3, 256, 2)


def test_a_description_tells_it_and_a_stranger_has_none(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('bands = ["red", "nir"]\npatch_size = 96\n[[classes]]\nname = "a"\n[[classes]]\nname = "b"\n')
    assert shape_of(str(file)) == Shape(2, 96, 2)
    file.write_text(f'use = ["nir"]\n{file.read_text()}')
    assert shape_of(str(file)) == Shape(1, 96, 2)
    assert shape_of("nobody") is None and shape_of(str(tmp_path / "none.toml")) is None


def test_a_catalog_tells_its_own(catalog):
    assert shape_in(catalog) == Shape(5, 32, 12)
