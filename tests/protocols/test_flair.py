"""FLAIR #1's official split against IGN's own lists of paths."""

import re

import pandas as pd
import pytest

from protocols.cutting import cut
from protocols.files import load

PATH = re.compile(r"/D(\d+)_(\d{4})/(Z\d+_[A-Z]+)/img/(IMG_\d+)\.tif")


def _listed(shared_data, name):
    """A catalog's columns from one of IGN's lists."""
    text = (shared_data("flair1") / "lists" / f"flair-1-paths-{name}.csv").read_text()
    rows = [PATH.search(line.split(",")[0]).groups() for line in text.splitlines()]
    table = pd.DataFrame(rows, columns=["department", "time", "zone", "id"])
    table["place"] = "D" + table["department"]
    table["zone"] = table["place"] + "/" + table["zone"]
    return table.assign(image=table["id"], mask="m", x=0.0, y=0.0)


@pytest.fixture
def patches(shared_data):
    """The whole test and all but one department of the validation; of the training only what the toy list shows."""
    parts = [_listed(shared_data, name) for name in ("test", "val", "toy-train")]
    return pd.concat(parts).drop_duplicates("id").reset_index(drop=True)


def test_the_test_part_is_the_published_list_patch_by_patch(patches, shared_data):
    (fold,) = cut(load("flair1-official"), patches)
    assert list(fold.parts["target_test"]) == sorted(_listed(shared_data, "test")["id"])
    assert len(fold.parts["target_test"]) == 15_700 and fold.parts["target_adapt"] == ()


def test_validation_is_the_published_departments_with_d077_in_the_place_of_d070(patches, shared_data):
    (fold,) = cut(load("flair1-official"), patches)
    listed = _listed(shared_data, "val")
    ours = set(patches[patches["id"].isin(fold.parts["source_val"])]["place"])
    assert ours == set(listed["place"]) - {"D070"} | {"D077"}
    assert set(listed[listed["place"] != "D070"]["id"]) <= set(fold.parts["source_val"])


def test_the_adaptation_variant_cuts_every_test_department_by_zone(patches):
    (fold,) = cut(load("flair1-official-adapt"), patches)
    table = patches.set_index("id")
    adapt, test = (table.loc[list(fold.parts[part])] for part in ("target_adapt", "target_test"))
    assert len(adapt) + len(test) == 15_700
    assert set(adapt["place"]) == set(test["place"]) and len(set(test["place"])) == 10
    assert not set(adapt["zone"]) & set(test["zone"])
    assert 0.4 < len(adapt) / 15_700 < 0.6
