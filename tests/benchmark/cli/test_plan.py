"""`landshift plan` in this process: what it prints, what it leaves alone, and what it refuses."""

from dataclasses import replace

import pytest

from benchmark.cli.app import main
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


def test_trainings_hours_disk_and_what_one_more_costs_are_told(ask, bench, tmp_path, capsys):
    words = ["--method", "source-only", "--method", "tent", "--seeds", "0,1,2", "--seconds-per-step", "900"]
    assert ask(*words, "--seconds-per-patch", "1e-9", "--fleet", "2", "--no-measure") == 0
    text = capsys.readouterr().out
    # Two folds and three seeds; a run of four steps of a quarter of an hour each.
    assert _row(text, "source-only") == ["source-only", "6", "6", "1", "h", "0", "min", "6.0", "900", "as", "given"]
    assert "assumed, not measured: 900 s a step" in text
    assert "trainings: 12 new; 18 if every row and trial trained its own" in text
    assert "reuse saves 6.0" in text and "wall-clock on 2 devices" in text and "wall-clock on 64 devices" in text
    assert "seed: 4 trainings" in text and "fold: 6 trainings" in text and "method: 6 trainings" in text
    assert "(there already)" in text and "there are no results yet" in text
    assert not (tmp_path / "results").exists(), "a plan writes nothing"


def test_finished_runs_are_counted_and_the_results_stay_as_they_are(ask, bench, results, add_run, capsys):
    assert ask("--method", "source-only", "--crop", "32", "--learning-rate", "0.01", "--no-measure") == 0
    assert "of methods without a run here nothing is known" in capsys.readouterr().out
    assert results.experiments() == [] and {path.name for path in results.folder.iterdir()} <= {"jobs.db"}

    changes = {"encoder": "tu-test_resnet", "encoder_depth": 2, "steps": 4, "batch_size": 2, "checkpoints": 2}
    mine = Bench(replace(bench.plan, recipe=make_recipe("tiny", changes)))
    job = mine.jobs(["source-only"], [0], ["2019"])[0]
    metrics = {"time/training_seconds": 0.5}
    add_run(results, bench.protocol.label, job.identity, mine.facts(job), metrics=metrics, tags={"device": "cpu"})
    assert ask("--method", "source-only", "--no-measure") == 0
    text = capsys.readouterr().out
    assert _row(text, "source-only")[:4] == ["source-only", "2", "1", "1"] and "1 runs here" in text
    assert "times: measured here, on cpu" in text and "finished runs are counted as done" in text


def test_where_no_run_is_finished_a_few_steps_are_measured(ask, capsys):
    assert ask("--method", "source-only", "--method", "dacs") == 0
    text = capsys.readouterr().out
    assert "a few steps of source-only measured now on this machine's cpu" in text
    assert "measured now" in text and "2.15 × source-only" in text and "of the device" in text
    steps = [float(_row(text, name)[-4 if name == "dacs" else -3]) for name in ("source-only", "dacs")]
    assert steps[1] == pytest.approx(2.15 * steps[0], rel=0.02)


@pytest.mark.parametrize(("on", "trials"), [("one", 6), ("every", 12)])
def test_tuning_comes_first_where_it_is_asked_for(ask, on, trials, capsys):
    words = ["--method", "source-only", "--method", "dacs", "--method", "oracle", "--trials", "3", "--tune-on", on]
    assert ask(*words, "--seconds-per-step", "1", "--no-measure") == 0
    text = capsys.readouterr().out
    assert f"3 trials of each method on {'1 fold' if on == 'one' else '2 folds'}:" in text
    taken = 2 if on == "one" else 4
    assert f"trainings: {trials + 6 - taken} new" in text and "dacs (tuned)" in text and "oracle (tuned)" not in text
    assert f"\n{taken} (" in text and "of the comparison are trials as well" in text


def test_protocols_with_published_counts_need_no_data(tmp_path, capsys):
    words = [
        "--method",
        "source-only",
        "--seconds-per-step",
        "0.05",
        "--no-measure",
        "--results",
        str(tmp_path / "none"),
    ]
    assert main(["plan", "flair1-leave-departments-out", *words]) == 0
    text = capsys.readouterr().out
    assert "1 method, 50 folds, 1 seed" in text and "patches of 5 × 512 × 512, 12 classes" in text
    assert "disk: decoded store 121.8 GB (to be decoded, at least)" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["flair1-official"], "are known only with its data; give --data, or counts as in --simulate"),
        (["dubai-leave-one-place-out", "--folds", "Tile 9"], "has no fold Tile 9; did you mean Tile"),
        (["dubai-leave-one-place-out", "--method", "dac"], "dac"),
        (["dubai-leave-one-place-out", "--trials", "3", "--rule", "last-step"], "last-step cannot choose among trials"),
        (["dubai-leave-one-place-out", "--simulate", "fold=3"], "--simulate takes counts of folds, train"),
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
