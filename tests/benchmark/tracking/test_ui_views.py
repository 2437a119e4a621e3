"""The saved views have the form that MLflow's UI reads; it is documented nowhere, so this test is its record."""

import base64
import json
import zlib
from pathlib import Path

import mlflow
import pytest

from benchmark.tracking import ui_views
from benchmark.tracking.ui_views import View, links, newest_first, newest_link, run_note, table_tag, tags

VIEWS = [View("abc", "40 steps, 2 methods", 20.0), View("abc-t1", "200 steps, tuned", 10.0)]


def states(view):
    """The states of a comparison's views by kind."""
    found = {}
    for name, text in tags(view).items():
        envelope = json.loads(text)
        assert set(envelope) == {"name", "createdAt", "state"} and type(envelope["createdAt"]) is int
        assert envelope["createdAt"] == view.created * 1000 and len(text) < 5000
        assert view.words in envelope["name"] and view.comparison in envelope["name"], name
        assert envelope["state"].startswith("deflate;")
        kind = name.removeprefix(ui_views.PREFIX).removesuffix(f"-{view.comparison}")
        found[kind] = json.loads(zlib.decompress(base64.b64decode(envelope["state"].removeprefix("deflate;"))))
    return found


def test_the_links_are_those_of_the_views_a_line_a_comparison_newest_first():
    lines = links("7", newest_first(VIEWS[::-1])).split("\n\n")
    firsts = [line.partition(":")[0] for line in lines]
    assert firsts == ["**40 steps, 2 methods** (abc)", "200 steps, tuned (abc-t1)"]
    for line, view in zip(lines, VIEWS, strict=True):
        addresses = [part.partition(")")[0] for part in line.split("](")[1:]]
        options = [dict(pair.split("=") for pair in address.partition("?")[2].split("&")) for address in addresses]
        assert all(address.startswith("#/experiments/7/runs?") for address in addresses)
        assert {f"mlflow.sharedViewState.{one['viewStateShareKey']}" for one in options} == set(tags(view))
        assert all(one["workflowType"] == "machine_learning" for one in options)
        assert [one.get("compareRunsMode", "TABLE") for one in options] == ["CHART", "CHART", "TABLE"]


def test_the_newest_comparison_is_opened():
    assert f"[comparison of methods]({newest_link('7', links('7', VIEWS))})" in links("7", VIEWS[:1])
    assert newest_link("7", "# A [note](https://example.org)") == "#/experiments/7/runs?workflowType=machine_learning"


def test_an_experiment_shows_its_newest_comparisons():
    shown = newest_first([View(str(number), "", number) for number in range(ui_views.LISTED + 2)])
    assert [view.created for view in shown] == list(range(ui_views.LISTED + 1, 1, -1))


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_complete_and_of_one_comparison(view):
    found = states(view)
    assert set(found) == {"comparison", "curves", "table"}
    assert f"= '{view.comparison}'" in found["comparison"]["searchFilter"]
    assert all(f"`{table_tag(view.comparison)}`" in found[kind]["searchFilter"] for kind in ("curves", "table"))
    for state in found.values():
        assert state["runsHiddenMode"] == "SHOW_ALL"
        assert state["orderByKey"] in state["selectedColumns"]
        charts = state["compareRunCharts"]
        sections = {section["uuid"] for section in state["compareRunSections"]}
        assert {chart["metricSectionId"] for chart in charts} == sections
        assert len({chart["uuid"] for chart in charts}) == len(charts)
        for chart in charts:
            if chart["type"] == "SCATTER":
                assert {"key", "type"} == set(chart["xaxis"]) == set(chart["yaxis"])
            else:
                assert chart["type"] in {"BAR", "LINE"} and chart["metricKey"] in chart["selectedMetricKeys"]
        assert {"params.`steps`", "params.`comparison`"} <= set(state["selectedColumns"])


def test_the_comparison_shows_metrics_of_summaries_and_their_intervals():
    state = states(VIEWS[0])["comparison"]
    assert "tags.`landshift.kind` = 'summary'" in state["searchFilter"]
    keys = [key for chart in state["compareRunCharts"] if chart["type"] == "BAR" for key in chart["selectedMetricKeys"]]
    assert keys[0] == "summary/target_miou_mean" and all(key.startswith("summary/") for key in keys)
    assert {"summary/target_miou_low", "summary/target_miou_high"} <= set(keys)
    assert "metrics.`summary/target_miou_half_interval`" in state["selectedColumns"]


def test_curves_are_of_the_rows_of_the_table_which_has_a_line_a_run_and_what_tells_runs_apart():
    curves, table = (states(VIEWS[1])[kind] for kind in ("curves", "table"))
    assert curves["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": table_tag("abc-t1")}]
    assert curves["useGroupedValuesInCharts"] is True  # MLflow draws the range of a group, but of no single runs
    assert {chart["type"] for chart in curves["compareRunCharts"]} == {"LINE"}
    assert table["groupBy"] is None
    assert {f"params.`{name}`" for name in ("method", "fold", "seed")} <= set(table["selectedColumns"])


def test_what_a_runs_page_says_first():
    metrics = {"target/miou": 0.4567, "selected/source_val_miou": 0.5, "selected/drop": 0.0433, "selected/step": 200.0}
    told = "**target mIoU 45.7 %** · source validation 50.0 % · drop 4.3 points · checkpoint of step 200"
    assert run_note({"train/loss/segmentation": 1.0, **metrics}) == told
    assert run_note({"train/loss/segmentation": 1.0, "selected/step": 200.0}) == ""


def test_colours_are_apart():
    assert len(set(ui_views.PALETTE)) == len(ui_views.PALETTE) == 12


def test_the_bundled_ui_still_knows_the_names():
    """A word that MLflow's UI no longer contains is a view that no longer opens."""
    scripts = (Path(mlflow.__file__).parent / "server/js/build/static/js").glob("*.js")
    text = "".join(file.read_text(encoding="utf-8") for file in scripts)
    words = ["mlflow.sharedViewState.", "viewStateShareKey", "compareRunsMode", "workflowType", "machine_learning"]
    words += ["compareRunCharts", "compareRunSections", "runsHiddenMode", "SHOW_ALL", "mlflow.runColor", "deflate;"]
    words += ["groupByKeys", "useGroupedValuesInCharts", "selectedMetricKeys", "mlflow.note.content"]
    assert [word for word in words if word not in text] == []
