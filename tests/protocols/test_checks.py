"""Checks that refuse: each is given folds or a catalog that somebody has tampered with."""

from dataclasses import replace

import pandas as pd
import pytest

from protocols.base import Fold, Protocol, ProtocolError, Split, fingerprint
from protocols.checks import check_folds, smallest_distance
from protocols.columns import add_columns
from protocols.cutting import cut

PROTOCOL = Protocol("tiny", 1, "none", "t", "d", "c", hold_out=("time",))


@pytest.fixture
def patches() -> pd.DataFrame:
    """Two years at two places each of their own, six zones a place, 10 m apart; the places 1 km apart."""
    rows = [
        (f"i{place}{zone}", f"p{place}", str(2019 + place // 2), f"p{place}/{zone}", 10.0 * zone, 1000.0 * place)
        for place in range(4)
        for zone in range(6)
    ]
    table = pd.DataFrame(rows, columns=["id", "place", "time", "zone", "x", "y"])
    return table.assign(image="/i.tif", mask="/m.tif", date=table["time"] + "-06-01", camera="c")


def _tampered(fold: Fold, **parts: tuple[str, ...]) -> Fold:
    return replace(fold, parts={**fold.parts, **parts})


def _check(protocol, fold, patches):
    check_folds(protocol, [fold], add_columns(protocol, patches))


@pytest.fixture
def fold(patches) -> Fold:
    return cut(PROTOCOL, patches)[0]


def test_the_fold_itself_passes(patches, fold):
    _check(PROTOCOL, fold, patches)


def test_a_patch_moved_to_another_part_splits_its_zone(patches, fold):
    twin = patches[patches["id"] == fold.parts["source_train"][0]].assign(id="twin")
    moved = _tampered(fold, target_test=(*fold.parts["target_test"], "twin"))
    with pytest.raises(ProtocolError, match=r"the zone p.* is in source_train and target_test"):
        _check(PROTOCOL, moved, pd.concat([patches, twin]))


def test_a_patch_in_two_parts_is_named(patches, fold):
    first = fold.parts["source_train"][0]
    doubled = _tampered(fold, source_val=(*fold.parts["source_val"], first))
    with pytest.raises(ProtocolError, match=f"the patch {first} is in source_train and source_val"):
        _check(PROTOCOL, doubled, patches)


def test_a_patch_listed_twice_is_named(patches, fold):
    first = fold.parts["source_val"][0]
    doubled = _tampered(fold, source_val=(*fold.parts["source_val"], first))
    with pytest.raises(ProtocolError, match=f"{first} is more than once in source_val"):
        _check(PROTOCOL, doubled, patches)
    with pytest.raises(ProtocolError, match=f"the catalog holds {first} more than once"):
        _check(PROTOCOL, fold, pd.concat([patches, patches[patches["id"] == first]]))


@pytest.mark.parametrize(("part", "date"), [("source_train", "2019-08-01"), ("target_test", "2020-08-01")])
def test_a_date_in_the_other_sides_year_is_refused(patches, fold, part, date):
    changed = patches.assign(date=patches["date"].where(patches["id"] != fold.parts[part][0], date))
    with pytest.raises(ProtocolError, match=rf"of the year {date[:4]}, and so are .* hold_out = \[\"month"):
        _check(PROTOCOL, fold, changed)
    with pytest.raises(ProtocolError, match=f"of the year {date[:4]}"):
        cut(PROTOCOL, changed)


def test_without_a_date_the_year_of_the_domain_is_looked_at(patches, fold):
    undated = patches.assign(date="")
    _check(PROTOCOL, fold, undated)
    with pytest.raises(ProtocolError, match="of the year 2019"):
        _check(PROTOCOL, fold, undated.assign(time="2019"))


def test_a_held_out_month_is_not_in_the_source(patches, fold):
    held_out = replace(fold, held_out={"month": "06"})
    with pytest.raises(ProtocolError, match="of the month 06, and so are source patches"):
        _check(PROTOCOL, held_out, patches)


def test_a_forecast_looks_forward(patches):
    backward, forward = cut(PROTOCOL, patches)
    protocol = replace(PROTOCOL, forecast=True)
    _check(protocol, forward, patches)
    with pytest.raises(ProtocolError, match="but a source patch is of 2020-06-01 and a target patch of 2019"):
        _check(protocol, backward, patches)
    late = patches.assign(date=patches["date"].where(patches["id"] != forward.parts["source_train"][0], "2020-07-01"))
    with pytest.raises(ProtocolError, match="a source patch is of 2020-07-01"):
        _check(replace(protocol, hold_out=()), replace(forward, held_out={}), late)


def test_unlabelled_images_younger_than_the_test_are_refused_where_a_protocol_says_so(patches, fold):
    protocol = replace(PROTOCOL, adapt_may_follow_test=False)
    _check(protocol, fold, patches)
    late = patches.assign(date=patches["date"].where(patches["id"] != fold.parts["target_adapt"][0], "2019-07-01"))
    with pytest.raises(ProtocolError, match="may not be younger than the test, but one is of 2019-07-01"):
        _check(protocol, fold, late)


def test_the_smallest_distance_is_reported_and_can_be_demanded(patches, fold):
    assert smallest_distance([fold], patches) == 1000.0
    _check(replace(PROTOCOL, split=Split(gap=1000.0)), fold, patches)
    with pytest.raises(ProtocolError, match="a source patch is 1000 from a target patch, and 1001 is the least"):
        _check(replace(PROTOCOL, split=Split(gap=1001.0)), fold, patches)
    assert str(smallest_distance([fold], patches.assign(x=float("nan")))) == "nan"


def test_a_changed_fold_is_told_with_its_sizes(patches):
    folds = cut(PROTOCOL, patches)
    sizes = {fold.name: tuple(map(len, fold.parts.values())) for fold in folds}
    pinned = replace(PROTOCOL, fingerprint=fingerprint(folds), sizes=sizes)
    cut(pinned, patches)
    lost = set(folds[0].parts["target_test"][:1])
    with pytest.raises(ProtocolError, match="2019 has 10/2/5/6 patches where there were 10/2/6/6; 2020 has"):
        cut(pinned, patches[~patches["id"].isin(lost)])
