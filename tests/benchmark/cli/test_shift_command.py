"""`landshift shift` through the command line: table, figure, and its run in MLflow, which a report leaves alone."""

import csv

import pytest
from PIL import Image

from benchmark.cli.app import main
from benchmark.experiments.results import ResultsFolder

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
RUN = ["--steps", "4", "--batch-size", "2", "--checkpoints", "1", "--accelerator", "cpu", "--workers", "1"]


@pytest.fixture(autouse=True)
def signals_as_they_were():
    import signal

    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_shifts_are_written_logged_and_stand_beside_the_drop(protocol_file, world, stores, tmp_path, capsys):
    where = ["--data", str(world), "--stores", str(stores), "--results", str(tmp_path)]
    assert main(["run", str(protocol_file), "--method", "source-only", *RUN, *where]) == 0
    shift = ["shift", str(protocol_file), "--encoder", "tu-test_resnet", "--patches", "4", *where]
    assert main([*shift, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "prior_js" in printed and "2019" in printed and "shift.png" in printed
    with (tmp_path / "out/shift.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["2019", "2020"] and all(row["drop"] != "nan" for row in rows)
    assert "with random weights" in (tmp_path / "out/shift.md").read_text()
    assert Image.open(tmp_path / "out/shift.png").width > 1000

    results = ResultsFolder(tmp_path)
    assert results.summaries("tiny-v1")["shift"]["encoder"] == "tu-test_resnet"
    assert main(["report", str(protocol_file), *where[:2], *where[4:]]) == 0
    (kept,) = results.client.api.search_runs([results.client.experiment("tiny-v1")], "attributes.run_name = 'shift'")
    assert kept.data.metrics["shift/2019/prior_js"] == pytest.approx(float(rows[0]["prior_js"]), abs=1e-6)
    assert {"shift/2020/mean_gap/red", "shift/2020/std_gap/height"} <= set(kept.data.metrics)


def test_without_runs_there_is_no_drop(protocol_file, world, stores, tmp_path):
    where = ["--data", str(world), "--stores", str(stores), "--results", str(tmp_path)]
    assert main(["shift", str(protocol_file), "--encoder", "tu-test_resnet", "--patches", "4", *where]) == 0
    with (tmp_path / "shift-tiny/shift.csv").open() as file:
        assert {row["drop"] for row in csv.DictReader(file)} == {"nan"}


def test_an_unknown_encoder_is_refused_in_one_line(protocol_file, world, stores, tmp_path, capsys):
    where = ["--data", str(world), "--stores", str(stores), "--results", str(tmp_path)]
    assert main(["shift", str(protocol_file), "--encoder", "resnet9000", *where]) == 1
    assert capsys.readouterr().err.startswith("landshift: cannot build")


def test_a_misspelt_protocol_is_told_before_another_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["shift", "world-leave-times-out", "nope"]) == 1
    assert "there is no protocol 'nope'" in capsys.readouterr().err
