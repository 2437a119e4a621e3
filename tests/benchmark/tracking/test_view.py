"""The saved views have the form that MLflow's UI reads; it is documented nowhere, so this test is its record."""

import base64
import json
import zlib
from typing import Any

from benchmark.tracking import Tracker, cells_link, comparison_link, view
from benchmark.tracking.view import table_link


def unpacked(tag: str) -> dict[str, Any]:
    envelope = json.loads(tag)
    assert set(envelope) == {"name", "createdAt", "state"}
    assert isinstance(envelope["createdAt"], int)
    assert envelope["state"].startswith("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(envelope["state"].removeprefix("deflate;"))))
    assert isinstance(state, dict)
    return state


def test_an_experiment_has_the_views_its_links_name(tracker: Tracker, experiment: str) -> None:
    tags = tracker._client.get_experiment(experiment).tags
    for link in (comparison_link(experiment), cells_link(experiment), table_link(experiment)):
        path, _, query = link.partition("?")
        options = dict(pair.split("=") for pair in query.split("&"))
        assert path == f"#/experiments/{experiment}/runs"
        assert options.get("compareRunsMode", "TABLE") == ("TABLE" if link == table_link(experiment) else "CHART")
        assert options["workflowType"] == "machine_learning"
        unpacked(tags[f"mlflow.sharedViewState.{options['viewStateShareKey']}"])


def test_the_note_begins_with_the_links(tracker: Tracker, experiment: str) -> None:
    tracker.describe(experiment, "what is held out")
    note = tracker._client.get_experiment(experiment).tags["mlflow.note.content"]
    assert note.index(comparison_link(experiment)) < note.index("what is held out")


def test_a_view_is_complete() -> None:
    for tag in view.tags().values():
        state = unpacked(tag)
        assert state["searchFilter"].startswith("tags.`landshift.kind` = ")
        assert state["orderByKey"].startswith("metrics.`")
        assert state["runsHiddenMode"] == "SHOW_ALL"
        sections = {section["uuid"] for section in state["compareRunSections"]}
        charts = state["compareRunCharts"]
        assert {chart["metricSectionId"] for chart in charts} == sections
        assert len({chart["uuid"] for chart in charts}) == len(charts)
        for chart in charts:
            if chart["type"] == "SCATTER":
                assert {"key", "type"} == set(chart["xaxis"]) == set(chart["yaxis"])
            else:
                assert chart["type"] in {"BAR", "LINE"}
                assert chart["metricKey"]


def test_the_comparison_shows_summaries_and_their_metrics_only() -> None:
    state = unpacked(view.tags()["mlflow.sharedViewState.landshift-comparison"])
    assert state["searchFilter"] == "tags.`landshift.kind` = 'summary'"
    keys = [chart["metricKey"] for chart in state["compareRunCharts"] if chart["type"] == "BAR"]
    assert keys[0] == "summary/target_miou_mean"
    assert all(key.startswith("summary/") for key in keys)


def test_the_table_has_a_line_a_run_and_what_tells_runs_apart() -> None:
    state = unpacked(view.tags()["mlflow.sharedViewState.landshift-table"])
    assert state["searchFilter"] == "tags.`landshift.kind` = 'cell'" and state["groupBy"] is None
    assert {"params.`method`", "params.`fold`", "params.`seed`", "metrics.`target/miou`"} <= set(
        state["selectedColumns"]
    )


def test_views_are_the_same_each_time_and_fit() -> None:
    assert view.tags() == view.tags()
    assert all(len(text) < 5000 for text in view.tags().values())


def test_colours_are_apart() -> None:
    assert len(set(view.PALETTE)) == len(view.PALETTE) == 12


def test_the_bundled_ui_still_knows_the_names() -> None:
    """A word that MLflow's UI no longer contains is a view that no longer opens."""
    from pathlib import Path

    import mlflow

    text = "".join(
        file.read_text(encoding="utf-8")
        for file in (Path(mlflow.__file__).parent / "server/js/build/static/js").glob("*.js")
    )
    words = ["mlflow.sharedViewState.", "viewStateShareKey", "compareRunsMode", "workflowType", "machine_learning"]
    words += ["compareRunCharts", "compareRunSections", "runsHiddenMode", "SHOW_ALL", "mlflow.runColor", "deflate;"]
    assert [word for word in words if word not in text] == []
