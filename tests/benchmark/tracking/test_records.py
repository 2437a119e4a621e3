"""A summary is written again where it says something else, and only there."""

import math
from dataclasses import replace

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking import Summary


@pytest.fixture
def summary(tmp_path):
    (tmp_path / "table.csv").write_text("a")
    metrics = {"summary/cells": 3.0, "summary/gap": math.nan}
    return Summary("dann", {"method": "dann", "seeds": 3}, metrics, [tmp_path / "table.csv"], {2: {"a": 1.0}})


def test_what_has_no_value_is_left_out(summary):
    curve = replace(summary, curves={4: {"a": 1.0, "b": math.nan}, 2: {"a": 2.0}}).curve
    assert curve == [(0, {"summary/cells": 3.0}), (2, {"a": 2.0}), (4, {"a": 1.0})]
    with pytest.raises(TrackingError, match="infinite"):
        replace(summary, curves={1: {"a": math.inf}}).curve  # noqa: B018


def test_the_same_has_the_same_digest_and_a_difference_another(summary, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("elsewhere/table.csv", "other.csv"):
        (tmp_path / name).write_text("a")
    same = [{"facts": {"seeds": "3", "method": "dann"}}, {"metrics": {"summary/cells": 3}}]
    same += [{"artifacts": [tmp_path / "elsewhere" / "table.csv"]}]
    assert {replace(summary, **change).digest for change in same} == {summary.digest}
    others = [{"name": "mmd"}, {"facts": {"method": "dann", "seeds": 4}}, {"metrics": {"summary/cells": 3.5}}]
    others += [{"metrics": {"summary/cells": 3.0, "summary/gap": 0.5}}, {"artifacts": []}]
    others += [{"artifacts": [tmp_path / "other.csv"]}, {"curves": {3: {"a": 1.0}}}, {"curves": {2: {"a": 1.5}}}]
    digests = {summary.digest, *(replace(summary, **change).digest for change in others)}
    (tmp_path / "table.csv").write_text("b")
    assert len(digests | {summary.digest}) == len(others) + 2


def test_a_method_of_two_comparisons_has_two_summaries(summary):
    first, second = (replace(summary, facts={"comparison": name}) for name in ("a", "b"))
    assert len({first.key, second.key, summary.key}) == 3 and summary.key == "dann"
