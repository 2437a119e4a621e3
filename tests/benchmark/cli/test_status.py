"""`landshift status` in this process: what it prints, when it ends, and what it does without."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli.app import main
from benchmark.experiments.queue import Entry
from benchmark.experiments.request import PREFIX
from benchmark.experiments.results import ResultsFolder

REPOSITORY = Path(__file__).resolve().parents[3]
GRID = {
    "methods": {"source-only": {"needs": "source labels", "bound": False, "control": True}},
    "folds": ["2019", "2020"],
    "seeds": [0],
    "skipped": {},
    "facts": {"comparison": "key"},
}


@pytest.fixture
def asked(results):
    """A results folder where a comparison was requested."""
    return _ask(results)


@pytest.fixture
def run(add_run):
    """Add a run."""

    def run(results, fold, state="done", experiment="tiny-v1", error=""):
        return add_run(results, experiment, f"{fold} {experiment}", _facts(fold), state, error=error)

    return run


def _ask(results):
    results.database.edit("tiny-v1", PREFIX + "key", lambda old: GRID)
    return results


def _facts(fold):
    return {"method": "source-only", "fold": fold, "seed": "0", "steps": "10", "comparison": "key"}


def _status(results, *words):
    return main(["status", *words, "--results", str(results.folder)])


def test_a_protocol_is_shown_with_what_runs_and_what_failed(asked, run, protocol_file, capsys):
    run(asked, "2019", "failed", error="ValueError: no such band")
    asked.queue.add([Entry("b", "", {}, _facts("2020"))], "tiny-v1")
    asked.queue.renew(asked.queue.claim("a worker/0", ["b"]), 0.4)
    run(asked, "2019", experiment="tiny-v1 (tuning)")
    assert _status(asked, str(protocol_file)) == 0
    told = capsys.readouterr().out
    assert "tiny-v1, comparison key: 0% of what can be run is done" in told
    assert "source-only, 2019, seed 0: ValueError: no such band" in told
    assert "source-only, 2020, seed 0: for " in told and "40% of its steps" in told
    assert "beside it: tiny-v1 (tuning): 1 done" in told


def test_without_a_protocol_every_experiment_has_a_line(asked, run, capsys):
    run(asked, "2019")
    run(asked, "2019", "running", "tiny-v1 (tuning)")
    assert _status(asked) == 0
    rows = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["tiny-v1", "1", "0", "0"] in [row[:4] for row in rows]
    assert ["tiny-v1", "(tuning)", "0", "1", "0"] in [row[:5] for row in rows]


def test_watch_ends_when_nothing_runs_or_waits(asked, run, protocol_file, monkeypatch, capsys):
    looks = []

    def sleep(seconds):
        """While it waits, one more run is done."""
        looks.append(seconds)
        run(asked, ("2019", "2020")[len(looks) - 1])

    monkeypatch.setattr("benchmark.cli.status.time.sleep", sleep)
    assert _status(asked, str(protocol_file), "--watch", "7") == 0
    assert looks == [7, 7]
    assert "nothing runs and nothing waits" in capsys.readouterr().out


def test_watch_waits_for_a_command_to_begin(run, protocol_file, tmp_path, monkeypatch, capsys):
    def sleep(seconds):
        """While it waits, all that is requested is done."""
        results = _ask(ResultsFolder(tmp_path / "empty"))
        for fold in ("2019", "2020"):
            run(results, fold)

    monkeypatch.setattr("benchmark.cli.status.time.sleep", sleep)
    assert main(["status", str(protocol_file), "--results", str(tmp_path / "empty"), "--watch", "7"]) == 0
    text = capsys.readouterr().out
    assert "yet; waiting for it" in " ".join(text.split()) and "nothing runs and nothing waits" in text
    assert main(["status", "tinny", "--results", str(tmp_path / "none"), "--watch"]) == 1, "not waited for"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tiny"], "there is no protocol 'tiny'"),
        (["world-leave-times-out"], "nothing of world-leave-times-out-v2 has been run in"),
        (["--watch"], "--watch and --comparison need a protocol"),
        (["tiny-v1", "--comparison", "x"], "there is no comparison 'x'; there are key"),
    ],
)
def test_refusals_say_what_there_is(asked, words, told, capsys):
    assert _status(asked, *words) == 1
    assert told in capsys.readouterr().err


def test_results_that_are_a_file_are_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["status", "--results", str(tmp_path / "file")])
    assert "file is a file, not a folder" in capsys.readouterr().err


def test_no_store_is_made(tmp_path, capsys):
    assert main(["status", "--results", str(tmp_path / "none")]) == 1
    assert "there is no store in" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_a_look_needs_neither_torch_nor_mlflow(asked, run):
    """Each takes seconds to import, and somebody may look every few minutes."""
    run(asked, "2019")
    code = "import sys, benchmark.cli.app as c\n"
    code += f"c.main(['status', 'tiny-v1', '--results', {str(asked.folder)!r}])\n"
    code += "print([m for m in ('torch', 'mlflow', 'pandas', 'scipy') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert "50% of what can be run is done" in answer.stdout and answer.stdout.endswith("[]\n")
