"""The official values that are kept here: few, and those of the whole files where these are there."""

import os
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "values"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
DATA = Path(os.environ.get("LANDSHIFT_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def test_they_are_small():
    assert len(NAMES) == 19 and sum((FOLDER / f"{name}.npz").stat().st_size for name in NAMES) < 250_000


@pytest.mark.skipif(not (DATA.parent / "fixtures").is_dir(), reason="the whole files are not here")
def test_they_are_those_of_the_whole_files(fixture_values):
    for name in NAMES:
        whole, kept = np.load(DATA.parent / "fixtures" / f"{name}.npz", allow_pickle=False), fixture_values(name)
        for key, values in kept.items():
            if key == "meta":
                continue
            every = -(-whole[key].size // values.size)
            assert np.array_equal(values.flatten(), whole[key].flatten()[::every]), f"{name}: {key}"
            assert values.dtype == whole[key].dtype and (every == 1 or key.startswith("out_")), f"{name}: {key}"
