"""The file with the counts by confidence."""

from dataclasses import asdict

import numpy as np
import pytest

from benchmark.common.errors import DataError
from benchmark.evaluation.confidence import BINS, Confidence
from benchmark.experiments.confidence_record import CONFIDENCES, read_confidence, write_confidences


@pytest.fixture
def counted():
    random = np.random.default_rng(0)
    sizes = {"pixels": (2, BINS, 3), "confusions": (BINS, 4, 4), "calm": (2, BINS, 3)}
    return Confidence(temperature=1.5, **{name: random.integers(9, size=size) for name, size in sizes.items()})


def test_what_is_written_is_read_by_step(tmp_path, counted):
    other = Confidence(counted.calm, counted.confusions + 1, float("nan"), counted.pixels)
    write_confidences(tmp_path, {10: counted, 20: other, 30: None})
    for step, expected in ((10, counted), (20, other)):
        for name, value in asdict(read_confidence(tmp_path, step)).items():
            np.testing.assert_array_equal(value, getattr(expected, name))
    assert read_confidence(tmp_path, 30) is None


def test_a_run_of_an_older_version_has_none(tmp_path):
    write_confidences(tmp_path, {10: None})
    assert not (tmp_path / CONFIDENCES).exists() and read_confidence(tmp_path, 10) is None


@pytest.mark.parametrize("name", ["pixels", "confusions", "temperature", "calm"])
def test_a_file_that_holds_something_else_is_an_error(tmp_path, counted, name):
    arrays = {f"10/{key}": np.asarray(value) for key, value in asdict(counted).items()}
    np.savez(tmp_path / CONFIDENCES, **{**arrays, f"10/{name}": np.array(["text"])})
    with pytest.raises(DataError, match="holds no counts of pixels by confidence for step 10"):
        read_confidence(tmp_path, 10)
    np.savez(tmp_path / CONFIDENCES, **{key: value for key, value in arrays.items() if key != f"10/{name}"})
    with pytest.raises(DataError, match="holds no counts"):
        read_confidence(tmp_path, 10)
