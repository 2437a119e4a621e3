"""Two comparisons that differ in the order of the test stream: their runs, and the table that a report has of them."""

import json
from dataclasses import replace

import pytest

from benchmark.cli.app import main
from benchmark.conformance.fixtures import recipe_with
from benchmark.conformance.replay.verify import check_files
from benchmark.data.synthetic import World, generate
from benchmark.experiments.jobs import ExperimentPlan
from benchmark.experiments.session import Session
from benchmark.reporting.table_file import read_table

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("networks_once", "one_thread")]
METHODS = ["source-only", "tent[learning_rate=0.01]"]


def test_a_report_shows_what_methods_lose_by_order(protocol_file, tmp_path, monkeypatch):
    generate(World(places=2, times=2, zones=4, zone_side=2, patch_size=32), tmp_path / "world")
    metrics = {}
    for order in ("recurring", "date"):
        recipe = replace(recipe_with(""), stream_order=order, batch_size=2)
        session = Session(
            ExperimentPlan(
                str(protocol_file), tmp_path / "world", tmp_path / "results", tmp_path / "stores", recipe, "cpu"
            )
        )
        jobs, ends = session.bench.jobs(METHODS, [0], ["2020"]), []
        session.remember(jobs)
        session.run(jobs, on_end=ends.append, publish=False)
        assert [end.error for end in ends] == ["", ""]
        found = session.results.finished(session.experiment)
        metrics[order] = [found[job.identity].metrics for job in jobs]
    source, stream = metrics["recurring"]
    assert source["target/miou"] == metrics["date"][0]["target/miou"], "what is trained does not depend on the order"
    assert {"stream_round/1/miou", "stream_round/3/miou", "stream_round/forgotten"} < set(stream)
    assert not any(name.startswith("stream_round") for name in (*source, *metrics["date"][1]))

    monkeypatch.setattr("benchmark.cli.report._publish", lambda *_: False)
    folder = tmp_path / "page"
    command = ["report", str(protocol_file), "--results", str(tmp_path / "results"), "--output", str(folder)]
    assert main(command) == 0
    page, by_date = (folder / "comparison.md").read_text(), metrics["date"][1]["target/miou"]
    assert "| method | date | recurring | first round | last round | forgotten |" in page
    again, lost = 100 * stream["target/miou"], 100 * (stream["target/miou"] - by_date)
    assert f"| {100 * by_date:.1f} | {again:.1f} ({lost:+.1f}) |" in page
    assert ">Stream orders</h2>" in (folder / "comparison.html").read_text()
    record = json.loads((folder / "comparison.json").read_text())["stream_orders"]["methods"]
    assert list(record) == METHODS[1:] and record[METHODS[1]]["date"] == by_date
    assert check_files(read_table(folder)).holds
