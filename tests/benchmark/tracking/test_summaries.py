"""A summary is written again where it says something else, and only there."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking import Summary


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    (tmp_path / "table.csv").write_text("a")
    metrics = {"summary/cells": 3.0, "summary/gap": math.nan}
    return Summary("dann", {"method": "dann", "seeds": 3}, metrics, [tmp_path / "table.csv"], {2: {"a": 1.0}})


def test_what_has_no_value_is_left_out(summary: Summary) -> None:
    assert summary.checked_metrics == {"summary/cells": 3.0}
    curves = replace(summary, curves={4: {"a": 1.0, "b": math.nan}, 2: {"a": 2.0}}).checked_curves
    assert list(curves.items()) == [(2, {"a": 2.0}), (4, {"a": 1.0})]
    with pytest.raises(TrackingError, match="infinite"):
        replace(summary, curves={1: {"a": math.inf}}).checked_curves  # noqa: B018


def test_the_same_has_the_same_digest(summary: Summary, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "table.csv").write_text("a")
    same = [
        replace(summary, facts={"seeds": "3", "method": "dann"}),
        replace(summary, metrics={"summary/cells": 3}),
        replace(summary, artifacts=[tmp_path / "elsewhere" / "table.csv"]),
    ]
    assert {other.digest for other in same} == {summary.digest}


def test_a_difference_is_another_digest(summary: Summary, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a")
    others = [
        replace(summary, name="mmd"),
        replace(summary, facts={"method": "dann", "seeds": 4}),
        replace(summary, metrics={"summary/cells": 3.5}),
        replace(summary, metrics={"summary/cells": 3.0, "summary/gap": 0.5}),
        replace(summary, artifacts=[]),
        replace(summary, artifacts=[tmp_path / "other.csv"]),
        replace(summary, curves={3: {"a": 1.0}}),
        replace(summary, curves={2: {"a": 1.5}}),
    ]
    digests = {other.digest for other in others}
    (tmp_path / "table.csv").write_text("b")
    digests |= {summary.digest}
    (tmp_path / "table.csv").write_text("a")
    assert len(digests | {summary.digest}) == len(others) + 2


def test_a_method_of_two_comparisons_has_two_summaries(summary: Summary) -> None:
    first, second = (replace(summary, facts={"comparison": name}) for name in ("a", "b"))
    assert len({first.key, second.key, summary.key}) == 3 and summary.key == "dann"
