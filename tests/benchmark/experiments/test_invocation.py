"""The commands of a comparison, read by the real parser, make the same comparison."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.cli.app import main, make_parser
from benchmark.evaluation.comparison import Grid
from benchmark.experiments.invocation import merged, shared_arguments
from benchmark.experiments.request import keys, read_request
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Session
from benchmark.tuning.plan import Tuning

pytestmark = pytest.mark.usefixtures("stores_copied")
DACS = "dacs[confidence=0.9,strength=0.5]"
TUNING = Tuning("nuclear-norm", 3, fold="2019", seed=2)
TUNED = {"shot": {"2019": "shot[learning_rate=0.1]", "2020": "shot"}, DACS: dict.fromkeys(("2019", "2020"), DACS)}


@pytest.fixture
def untrained(monkeypatch):
    """Calls of ``landshift run`` remember what was asked for, and train and report nothing."""
    monkeypatch.setattr("benchmark.experiments.engines.Local.check", lambda self, bench, work: None)
    monkeypatch.setattr("benchmark.experiments.engines.Local.work", lambda self, session, work: 0)
    monkeypatch.setattr("benchmark.experiments.compare.measure_pixels", lambda bench, folds, tell: None)
    monkeypatch.setattr("benchmark.cli.run.report", lambda options: 0)
    monkeypatch.setattr("benchmark.tuning.results.chosen_settings", lambda *which, mixed: (TUNING, TUNED))


def _comparison(folder: Path):
    """Key, rows, folds and seeds of the one comparison, the places that are wanted, and its commands."""
    results = ResultsFolder(folder)
    experiment = next(name for name in results.experiments() if name in ("tiny-v1", "tiny-v1-partial"))
    (key,) = keys(results, experiment)
    asked = read_request(results, experiment, key)
    grid = asked.grid
    wanted = {(m, f, s) for m in grid.methods for f in grid.folds for s in grid.seeds if asked.wants(m, f, s)}
    return (key, set(grid.methods), grid.folds, grid.seeds, wanted, asked.facts), asked.commands


@pytest.mark.parametrize(
    ("calls", "count"),
    [
        ([["--method", "source-only"]], 1),
        ([["--method", DACS, "--seeds", "0,2"], ["--method", "tent", "--seeds", "2"], ["--method", "tent"]], 1),
        ([["--method", "oracle", "--folds", "2020"], ["--method", "source-only"]], 2),
        ([["--method", "mmd", "--folds", "2020"], ["--method", "dacs", "--folds", "2020", "--seeds", "0"]], 1),
        ([["--method", "source-only"], ["--method", "oracle", "--leave-one-source-domain-out"]], 2),
        ([["--tuned", TUNING.key, "--seeds", "0,1", "--method", "oracle"]], 2),
        ([["--method", "source-only", "--partial", "--data", "."]], 1),
    ],
)
def test_they_ask_for_the_same_rows_folds_and_seeds(plan, tmp_path, monkeypatch, untrained, calls, count):
    monkeypatch.chdir(plan.data)
    shared = ["--data", str(plan.data), "--steps", "31", "--turn", "false", "--encoder-weights", "none"]
    shared += ["--learning-rate", "0.0123", "--preset", "small", "--accelerator", "cpu", "--workers", "1"]
    for call in calls:
        folders = ["--stores", str(plan.stores), "--results", str(tmp_path / "first")]
        assert main(["run", plan.protocol, *shared, *folders, *call]) == 0
    first, commands = _comparison(tmp_path / "first")
    assert len(commands) == count
    for command in commands:
        words = [*shlex.split(command)[1:], "--results", str(tmp_path / "second"), "--stores", str(plan.stores)]
        options = make_parser().parse_args(words)
        if words[0] == "tune":
            found = Tuning(options.rule, options.trials, options.fold, options.seed, options.prune)
            assert (found, options.method, options.data) == (TUNING, list(TUNED), plan.data)
        else:
            assert main(words) == 0
    assert _comparison(tmp_path / "second")[0] == first


def test_without_options_that_give_the_recipe_there_is_no_command(bench, tmp_path):
    assert bench.plan.recipe.network.decoder_channels == (8, 8), "which no option gives"
    session = Session(replace(bench.plan, results=tmp_path), bench=bench)
    session.remember(bench.jobs(["source-only"], [0]))
    assert shared_arguments(bench.plan) == "" and _comparison(tmp_path)[1] == []


def test_blocks_are_one_where_they_leave_no_gap():
    grid = Grid(("a", "b"), ("north", "south"), (0, 1), {}, frozenset(), "a")
    north, south = (({"a"}, {"north"}, {0, 1}), ({"a"}, {"south"}, {0, 1}))
    assert merged([north, south], grid) == [({"a"}, {"north", "south"}, {0, 1})]
    other = ({"b"}, {"north"}, {0})
    assert merged([north, south, other], grid) == [north, south, other]
    assert merged([], grid) == [({"a", "b"}, {"north", "south"}, {0, 1})]
