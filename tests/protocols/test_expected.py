"""Sizes of folds that are published, without the data."""

from dataclasses import replace

import pytest

from protocols.base import Protocol, Split
from protocols.expected import expected_sizes
from protocols.files import load

HEADER = "place,time,patches,first_id,last_id"


@pytest.fixture
def protocol(tmp_path):
    """Four places, of which the last two are published together."""
    table = tmp_path / "counts.csv"
    table.write_text(f"{HEADER}\nA,2019,100,1,100\nB,2020,60,101,160\nC,2020,,161,240\nD,2020,,161,240\n")
    split = Split(validation_share=0.1, adapt_share=0.5)
    return Protocol("p", 1, "d", "t", "d", "c", hold_out=("place",), tables=(table,), split=split)


def test_every_place_is_a_fold_and_the_others_its_source(protocol):
    assert expected_sizes(protocol) == {
        "A": (126, 14, 50, 50),
        "B": (162, 18, 30, 30),
        "C": (180, 20, 20, 20),
        "D": (180, 20, 20, 20),
    }


def test_what_shares_a_time_with_the_target_is_no_source(protocol):
    assert expected_sizes(replace(protocol, hold_out=("place", "time")))["B@2020"] == (90, 10, 30, 30)


def test_of_a_transductive_protocol_the_test_is_what_is_adapted_to(protocol):
    assert expected_sizes(replace(protocol, transductive=True))["A"] == (126, 14, 100, 100)


def test_small_targets_are_no_folds(protocol):
    assert list(expected_sizes(replace(protocol, split=Split(smallest_target=50)))) == ["A", "B"]


@pytest.mark.parametrize("change", [{"tables": ()}, {"forecast": True}, {"hold_out": ("camera",)}])
def test_where_no_table_tells_nothing_is_expected(protocol, change):
    assert expected_sizes(replace(protocol, **change)) == {}


def test_all_of_flair_is_in_the_targets_of_its_fifty_departments():
    sizes = expected_sizes(load("flair1-leave-departments-out"))
    assert len(sizes) == 50 and sum(row[2] + row[3] for row in sizes.values()) == pytest.approx(77_412, abs=25)
    assert all(sum(row) == pytest.approx(77_412, abs=25) for row in sizes.values())
