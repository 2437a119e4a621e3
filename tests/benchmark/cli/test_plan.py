"""`landshift plan` in this process: what it prints, what it leaves alone, and what it refuses."""

from dataclasses import replace

import pytest

from benchmark.cli.app import main
from benchmark.cli.options import name, names
from benchmark.cli.plan import COSTS
from benchmark.common.console import duration
from benchmark.conformance.costs import read_costs
from benchmark.experiments.jobs import Bench
from benchmark.training.config import make_recipe

pytestmark = pytest.mark.usefixtures("networks_once")
SMALL = [
    "--encoder",
    "tu-test_resnet",
    "--encoder-depth",
    "2",
    "--steps",
    "4",
    "--batch-size",
    "2",
    "--checkpoints",
    "2",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """In a folder without data."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def ask(protocol_file, world, stores, tmp_path):
    """Plans for the tiny world, whose store is decoded."""

    def asked(*more):
        places = ["--data", str(world), "--stores", str(stores), "--results", str(tmp_path / "results")]
        return main(["plan", str(protocol_file), *places, *SMALL, *more])

    return asked


def _row(text, name):
    """The cells of the first row of a printed table that begins with a name."""
    return next(line.replace("│", " ").split() for line in text.splitlines() if line.startswith(f"{name} "))


def test_without_runs_jobs_are_counted_and_nothing_is_written(ask, bench, tmp_path, capsys):
    assert ask("--method", "tent", "--seeds", "0,1,2") == 0
    text = capsys.readouterr().out
    assert text.startswith("tiny-v1: 2 methods, 2 folds, 3 seeds; 4 steps a training")
    assert _row(text, "source-only") == ["source-only", "6", "unknown"] and _row(text, "all")[-1] == "12"
    assert "6 of them start from the source-only run of their fold and seed" in text
    assert "time: unknown; a short run" in text and "(there already); results unknown before" in text
    assert not (tmp_path / "results").exists(), "a plan writes nothing"


def test_finished_runs_are_counted_and_tell_the_hours(ask, bench, results, add_run, capsys):
    changes = {"encoder": "tu-test_resnet", "encoder_depth": 2, "steps": 4, "batch_size": 2, "checkpoints": 2}
    mine = Bench(replace(bench.plan, recipe=make_recipe("tiny", changes)))
    job = mine.jobs(["source-only"], [0], ["2019"])[0]
    metrics = {"time/training_seconds": 3600.0}
    add_run(results, bench.protocol.label, job.identity, mine.facts(job), metrics=metrics, tags={"device": "cpu"})
    assert (
        ask("--method", "source-only", "--method", "dacs", "--workers", "2", "--folds", "2019", "--seeds", "0,1") == 0
    )
    text = capsys.readouterr().out
    assert _row(text, "source-only")[1:3] == ["1", "1"] and _row(text, "dacs")[1] == "2"
    cost = read_costs(COSTS)["dacs"].time
    assert "1 run of 4 steps" in text and cost > 1.5 and f"{cost:.2f} × source-only" in text
    # One hour, and twice the hours of the costlier one, in two processes.
    hours = duration(3600 * (1 + 2 * cost) / 2)
    assert f"time: {hours} with 2 at once, by 1 finished runs on cpu\n" in text
    assert results.experiments() == [bench.protocol.label]


def test_without_a_store_finished_runs_cannot_be_counted(ask, results, tmp_path, capsys):
    assert ask("--method", "source-only", "--stores", str(tmp_path / "none")) == 0
    assert "finished runs are not counted as done, since the data are not decoded" in capsys.readouterr().out


@pytest.mark.parametrize(("on", "trials", "taken"), [("one", 6, 2), ("every", 12, 4)])
def test_tuning_comes_first_where_it_is_requested(ask, on, trials, taken, capsys):
    words = ["--method", "source-only", "--method", "dacs", "--method", "oracle", "--trials", "3", "--tune-on", on]
    assert ask(*words) == 0
    first, second = capsys.readouterr().out.split("the tuned comparison:")
    assert f"3 trials of each method on {'1 fold' if on == 'one' else '2 folds'}:" in first
    assert "not tuned: oracle: it is trained on target labels" in first and _row(first, "all")[-1] == str(trials)
    assert _row(second, "all")[1:] == [str(taken), "0", "0", str(6 - taken)]
    assert "dacs (tuned)" in second and "oracle (tuned)" not in second


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["flair1-official"], "are known only with its data; give --data"),
        (["dubai-leave-one-place-out", "--folds", "Tile 9"], "has no fold Tile 9; did you mean Tile"),
        (["dubai-leave-one-place-out", "--method", "dac"], "dac"),
        (["dubai-leave-one-place-out", "--trials", "3", "--rule", "last-step"], "last-step cannot choose among trials"),
    ],
)
def test_refusals_are_one_line(words, told, tmp_path, capsys):
    assert main(["plan", *words, "--results", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


@pytest.mark.parametrize("command", ["plan", "status"])
def test_help_teaches_by_examples(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert text.count(f"landshift {command} ") >= 5 and "examples:" in text


def test_a_fold_is_found_whatever_form_its_letters_are_typed_in():
    assert names("E\u0301vry, ulm") == ("Évry", "ulm")
    assert name("E\u0301vry") == "Évry"
