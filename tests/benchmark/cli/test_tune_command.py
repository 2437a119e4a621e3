"""``landshift tune`` as it is typed."""

import shlex

import pytest

from benchmark.cli.app import main

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")


@pytest.fixture(scope="module")
def common(protocol_file, world, stores, tmp_path_factory):
    """What all commands share: the data, the folders and a training of two steps."""
    folders = {"--data": world, "--stores": stores, "--results": tmp_path_factory.mktemp("results")}
    training = {"--steps": 2, "--checkpoints": 1, "--batch-size": 2, "--accelerator": "cpu", "--workers": 1}
    return [str(protocol_file), *(str(word) for pair in (folders | training).items() for word in pair)]


def test_the_command_that_it_prints_compares_what_it_found(common, capsys):
    asked = ["--method", "source-only", "--trials", "2", "--fold", "2019"]
    assert main(["tune", *common, *asked]) == 0
    told = capsys.readouterr().out
    assert "tuned on 2019 alone, for all folds: 2 trials, chosen by source-validation" in told
    assert "target mIoU" not in told  # nobody is shown the answer while choosing
    following = told.partition("compare: ")[2].splitlines()[0]
    assert following.startswith("landshift run") and following.endswith("--seeds 0,1,2")
    assert main([*shlex.split(following)[1:-1], "0"]) == 0
    assert "source-only (tuned)" in capsys.readouterr().out


def test_of_the_source_only_runs_that_trials_start_from_the_answer_is_not_shown_either(common, capsys):
    asked = ["--method", "shot", "--rule", "nuclear-norm", "--trials", "1", "--fold", "2020", "--seed", "5"]
    assert main(["tune", *common, *asked]) == 0
    told = capsys.readouterr().out
    assert "[1/2] source-only, 2020, seed 5: nuclear-norm " in told and "[2/2] shot, 2020" in told
    assert "target mIoU" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "tent"], "tent cannot be tuned by source-validation: it has no checkpoints"),
        (["--rule", "last-step"], "last-step cannot choose among trials"),
        (["--rule", "nuclear-norm", "--prune"], "which nuclear-norm may not look at"),
        (["--method", "source-only", "--fold", "1999"], "has no fold 1999"),
        (["--method", "source-only[recipe.learning_rate=1]"], "has nothing to tune"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(common, capsys, words, told):
    assert main(["tune", *common, "--trials", "2", *words]) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_comparison_of_what_was_never_tuned_is_refused(common, capsys):
    assert main(["run", *common, "--tuned", "nuclear-norm-5-each-fold"]) == 1
    assert "no finished tuning 'nuclear-norm-5-each-fold'" in capsys.readouterr().err
