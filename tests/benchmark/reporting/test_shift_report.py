"""Shifts as tables and a figure, with the drop where there are runs and without."""

import math

import pandas as pd
import pytest
from PIL import Image

from benchmark.reporting.shift_report import as_csv, cells, correlations, draw, markdown

MEASURES = {"prior_js": "bits", "proxy_a": "0 to 2", "chance": "95 %"}


def _rows(drops):
    return [
        {"protocol": "p", "fold": f"f{k}", "prior_js": 0.5 - 0.1 * k, "proxy_a": 0.1 * k, "chance": 0.2, "drop": drop}
        for k, drop in enumerate(drops)
    ]


@pytest.fixture
def patches() -> pd.DataFrame:
    return pd.DataFrame({"place": ["a", "a", "b"], "time": ["1", "2", "1"], "x": [0.0, 0.0, 5.0], "y": [1.0, 1.0, 9.0]})


def test_ranks_are_told_where_there_are_folds_enough():
    rows = _rows([1.0, 2.0, 3.0, 4.0, 5.0])
    assert correlations(rows, list(MEASURES)) == {"prior_js": pytest.approx(-1), "proxy_a": pytest.approx(1)}
    assert correlations(rows[:4], list(MEASURES)) == {}
    assert correlations(_rows([math.nan] * 5), list(MEASURES)) == {}
    assert "proxy_a +1.00, prior_js -1.00" in markdown(rows, MEASURES, "told")


def test_unknown_numbers_are_a_dash():
    rows = _rows([math.nan])
    assert cells(rows, list(MEASURES)) == [("p", "f0", "0.5", "0", "0.2", "–")]
    text = markdown(rows, MEASURES, "told")
    assert "| p | f0 | 0.5 | 0 | 0.2 | – |" in text and "*proxy_a*: 0 to 2" in text and "told" in text
    assert "Rank" not in text
    assert as_csv(rows, list(MEASURES)).splitlines()[1] == "p,f0,0.5,0,0.2,nan"


@pytest.mark.parametrize("drops", [[1.0, 2.0], [math.nan, math.nan]])
@pytest.mark.parametrize("mapped", [True, False])
def test_the_figure_is_drawn_with_and_without_runs_and_coordinates(drops, mapped, patches, tmp_path):
    draw(_rows(drops), patches if mapped else patches.assign(x=math.nan), list(MEASURES), tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.width > 1500 and len(set(picture.convert("L").getdata())) > 50
