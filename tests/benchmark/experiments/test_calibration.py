"""Whether a config is converged: by curves made by hand, from a file and back, and as the command is typed."""

import json
import math
import shlex
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmark.cli.app import main
from benchmark.common.errors import DataError, TrackingError
from benchmark.experiments import calibrating, calibration
from benchmark.experiments.calibrating import finished
from benchmark.experiments.calibration import (
    Calibration,
    Point,
    add,
    calibration_of,
    calibrations,
    config_of,
    gain_at,
    read,
)
from benchmark.experiments.results import SUMMARIES, ResultsFolder
from benchmark.training.config import PRESETS, TrainingConfig

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
ODD = '20\x7f21 "b" é'  # a fold's name
RECIPE = asdict(PRESETS["tiny"])


def _curve(**means):
    """Points of two folds and two seeds whose mean is as given: ``s250=0.5``."""
    return tuple(
        Point(
            int(name[1:]), {"2019": (round(mean - 0.01, 6), round(mean + 0.03, 6)), ODD: (round(mean - 0.01, 6),) * 2}
        )
        for name, mean in means.items()
    )


@pytest.fixture
def one():
    """Converged at 500 steps."""
    points = _curve(s125=0.4, s250=0.6, s500=0.7, s1000=0.712345, s2000=0.72)
    return Calibration("folds", "world", "data", (0, 1), 2, "0.1.0+abc", config_of(RECIPE), points)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """In a folder without data, and as if the repository had no calibration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "checkout", lambda: None)


def _words(steps, *known, recipe=RECIPE, fingerprint="folds", data="data"):
    verdict = calibration_of({**recipe, "steps": steps}, fingerprint, data, known)
    return verdict.words if verdict.converged else f"NOT {verdict.words}"


# --- the curve


@pytest.mark.parametrize(
    ("means", "steps"),
    [
        ({"s250": 0.5, "s500": 0.52001, "s1000": 0.53}, 500),
        ({"s250": 0.5, "s500": 0.52001}, 0),
        ({"s250": 0.5, "s500": 0.5199, "s1000": 0.5398}, 250),
        ({"s250": 0.5, "s500": 0.5199, "s1000": 0.54}, 0),
        ({"s250": 0.5, "s500": 0.51}, 250),
        ({"s250": 0.5, "s500": 0.6, "s1000": 0.61, "s2000": 0.61}, 500),
        ({"s250": 0.5, "s500": 0.45, "s1000": 0.44, "s2000": 0.43}, 500),  # less is a change, too
        ({"s250": 0.5, "s500": 0.49, "s1000": 0.46, "s2000": 0.46}, 1000),
        ({"s125": 0.1, "s250": 0.11, "s500": 0.12, "s1000": 0.3, "s2000": 0.31, "s4000": 0.32}, 1000),  # no early one
        ({"s500": 0.651, "s1000": 0.729, "s2000": 0.79, "s4000": 0.837, "s8000": 0.853}, 4000),
    ],
)
def test_a_config_converges_where_every_measured_doubling_changes_less_than_two_points(means, steps):
    assert calibration.converged_steps(_curve(**means)) == steps


def test_a_mean_is_over_folds_and_seeds():
    assert Point(1, {"a": (0.1, 0.3), "b": (0.5, 0.7)}).mean == pytest.approx(0.4)


def test_between_measured_steps_a_gain_is_read_off_the_curve(one):
    assert gain_at(one.points, 250) == pytest.approx(0.1)
    middle = round(250 * 2**0.5)  # half-way between 250 and 500 on a logarithmic axis
    assert gain_at(one.points, middle) == pytest.approx((0.7 + 0.712345) / 2 - 0.65, abs=1e-3)
    assert all(math.isnan(gain_at(one.points, steps)) for steps in (124, 1001))


# --- the verdict


def test_what_is_trained_long_enough_is_calibrated(one):
    gains = "source-only would gain 1.2 points of source validation with twice as many"
    assert _words(500, one) == f"calibrated: converged at 500 steps; {gains}"
    assert _words(3000, one) == f"calibrated: converged at 500 steps (these are 3,000); at 500 steps {gains}"
    less = replace(one, points=_curve(s500=0.7, s1000=0.695, s2000=0.7))
    assert "source-only would lose 0.5 points of source validation with" in _words(500, less)


def test_what_is_not_says_what_is_still_to_gain(one):
    needs = "of the 500 steps that source-only needs; source-only"
    more = "points of source validation"
    assert _words(250, one) == f"NOT not converged: 250 {needs} would gain 10.0 {more} with twice as many"
    assert _words(200, one) == f"NOT not converged: 200 {needs} would gain about 13.2 {more} with twice as many"
    assert _words(80, one) == f"NOT not converged: 80 {needs} still gained 20.0 {more} from 125 to 250"


def test_a_curve_that_was_given_up_says_what_it_knows(one):
    short = replace(one, points=one.points[:3])
    tail = "points of source validation"
    gains = f"source-only would gain 10.0 {tail} with twice as many"
    assert _words(250, short) == f"NOT not shown to be converged at 250 steps; {gains}"
    for steps in (400, 500, 4000):
        still = f"source-only still gained 10.0 {tail} from 250 to 500"
        assert _words(steps, short) == f"NOT not shown to be converged at {steps:,} steps; {still}"
    fallen = replace(one, points=_curve(s250=0.5, s500=0.45))
    assert _words(500, fallen).endswith(f"; source-only lost 5.0 {tail} from 250 to 500")


def test_another_config_or_other_folds_are_not_calibrated(one):
    none = "NOT not calibrated: what more steps would gain is not known (see landshift calibrate)"
    assert _words(500) == _words(500, one, fingerprint="others") == none
    assert _words(500, one, recipe={**RECIPE, "crop": 64}) == none
    assert _words(500, one, recipe={**RECIPE, "precision": "bf16-mixed"}) == none
    assert _words(500, one, recipe={**RECIPE, "network": {**RECIPE["network"], "encoder_depth": 4}}) == none
    assert _words(500, one, recipe={**RECIPE, "checkpoints": 8}).startswith("calibrated")


def test_under_plateau_the_checkpoints_belong_to_the_config(one):
    recipe = {**RECIPE, "schedule": "plateau"}
    falling = replace(one, recipe=config_of(recipe))
    assert _words(500, falling, recipe=recipe).startswith("calibrated")
    assert _words(500, falling, recipe={**recipe, "checkpoints": 8}).startswith("NOT not calibrated")


@pytest.mark.parametrize(("name", "default", "other"), [("precision", "32-true", "16-mixed"), ("turn", True, False)])
def test_a_value_that_recipes_have_gained_since_has_its_default(one, name, default, other):
    old = replace(one, recipe={key: value for key, value in one.recipe.items() if key != name})
    assert _words(500, old, recipe={**RECIPE, name: default}).startswith("calibrated")
    assert _words(500, old, recipe={**RECIPE, name: other}).startswith("NOT not calibrated")
    assert old.key == one.key
    network = {key: value for key, value in one.recipe["network"].items() if key != "encoder_weights"}
    assert _words(500, replace(one, recipe={**one.recipe, "network": network})).startswith("calibrated")
    newer = replace(one, recipe={**one.recipe, "unheard": 3})  # of a later version of landshift
    assert _words(500, newer).startswith("NOT not calibrated")


def test_other_data_under_the_same_folds_are_told_apart(one):
    told = _words(500, one, data="dimmed")
    assert told.startswith("NOT not calibrated on these data; on others under these folds it is calibrated: converged")
    mine = replace(one, dataset_digest="dimmed", points=one.points[:3])
    assert _words(500, one, mine, data="dimmed").startswith("NOT not shown to be converged")


def test_some_folds_are_said_and_all_folds_go_first(one):
    part = replace(one, points=tuple(Point(p.steps, {"2019": (p.mean, p.mean)}) for p in one.points[:3]))
    assert _words(250, part).endswith(" (measured on 2019 alone)")
    assert _words(500, part, one).startswith("calibrated")
    third = replace(one, seeds=(0,), points=_curve(s250=0.1, s500=0.3))
    assert _words(500, third, one) == _words(500, one)
    longer = replace(one, points=(*one.points, Point(4000, {"2019": (0.8, 0.8), ODD: (0.8, 0.8)})))
    assert _words(500, one, longer) == _words(500, longer) != _words(500, one)


# --- the file


def test_a_file_holds_what_was_written(one, tmp_path):
    path = tmp_path / "new" / "calibration" / "p.toml"
    other = replace(one, recipe={**one.recipe, "crop": 64}, dataset='with "quotes" \\ é \x7f')
    add(path, one)
    add(path, other)
    assert read(path) == [one, other]
    again = replace(one, version="0.2.0")
    add(path, again)
    assert read(path) == [other, again]
    add(path, replace(other, points=other.points[:2]))
    content = tomllib.loads(path.read_text(encoding="utf-8"))["config"]
    assert [entry["converged_steps"] for entry in content] == [500, 500]
    assert "steps" not in content[0]["recipe"] and content[0]["recipe"]["crop"] == 64
    assert [path.name for path in path.parent.iterdir()] == ["p.toml"]


def test_a_poorer_curve_does_not_replace_a_better_one(one, tmp_path):
    path = tmp_path / "p.toml"
    assert add(path, one) == one
    assert add(path, replace(one, points=one.points[:3])) == one  # given up before
    fold = replace(one, points=tuple(Point(p.steps, {"2019": p.values["2019"]}) for p in one.points[:3]))
    of_seed = tuple(Point(p.steps, {fold: of[:1] for fold, of in p.values.items()}) for p in one.points)
    seed = replace(one, seeds=(0,), points=of_seed)
    assert add(path, fold) == fold and add(path, seed) == seed
    assert read(path) == [one, fold, seed]
    assert _words(500, *read(path)).startswith("calibrated: converged at 500 steps")
    sooner = replace(one, points=_curve(s125=0.7, s250=0.71, s500=0.715))
    longer = replace(one, points=_curve(s125=0.4, s250=0.6, s500=0.7))
    assert add(path, sooner) == sooner and add(path, longer) == longer
    assert read(path) == [fold, seed, longer]


WRITTEN_BEFORE = """\
# Written by `landshift calibrate`: mean IoU on source validation (a share) of source-only at its chosen checkpoint, for
# each number of steps, by fold and seed (in the order of `seeds`). Converged: twice as many steps gain less than 0.02.

[[config]]
converged_steps = 60
fingerprint = "folds"
dataset = "world"
dataset_digest = "data"
protocol_folds = 3
seeds = [0, 1]
version = "0.1.0+80c0170d"

[config.recipe]
batch_size = 16
crop = 32
turn = true
optimizer = "adamw"
learning_rate = 0.01
weight_decay = 0.01
momentum = 0.0
schedule = "one-cycle"
precision = "32-true"

[config.recipe.network]
architecture = "light-fpn"
encoder = "tu-test_resnet"
encoder_weights = ""
encoder_depth = 3
decoder_channels = []

[[config.point]]
steps = 60
mean = 0.278054
values = { "2021" = [0.280302, 0.275806] }

[[config.point]]
steps = 120
mean = 0.267623
values = { "2021" = [0.261786, 0.273461] }
"""


def test_a_file_of_the_first_version_can_be_read(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(WRITTEN_BEFORE)
    (found,) = read(path)
    assert found.seeds == (0, 1) and found.points[1] == Point(120, {"2021": (0.261786, 0.273461)})
    assert _words(60, found) == (
        "calibrated: converged at 60 steps; source-only would lose 1.0 points of source validation with twice as many "
        "(measured on 2021 alone)"
    )


def test_a_recipe_that_was_written_down_is_found_again(one, tmp_path):
    add(tmp_path / "p.toml", one)
    recipe = json.loads(json.dumps(RECIPE))
    assert calibration_of({**recipe, "steps": 500}, "folds", "data", read(tmp_path / "p.toml")).converged


@pytest.mark.parametrize("text", ["config = 1", "[[config]]", "= [", "\x00", "[[config]]\npoint = 3"])
def test_another_file_is_refused_in_one_line(text, tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"p\.toml: no file of calibrations"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new"), [("steps = 250", "steps = 125"), ("0.590000", "nan"), ("[config.recipe.network]", "")]
)
def test_a_curve_must_be_one(one, tmp_path, old, new):
    path = tmp_path / "p.toml"
    add(path, one)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match="no file of calibrations"):
        read(path)


def test_what_is_published_counts_beside_one_s_own(one, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "checkout", lambda: tmp_path)
    assert calibrations(tmp_path / "mine", "p") == []
    add(tmp_path / "results" / "calibration" / "p.toml", one)
    assert calibrations(tmp_path / "mine", "p") == [one] and calibrations(tmp_path / "mine", "q") == []


def test_every_value_of_a_recipe_can_be_written(tmp_path, one):
    for name, recipe in (*PRESETS.items(), ("default", TrainingConfig())):
        config = config_of(asdict(recipe))
        add(tmp_path / f"{name}.toml", replace(one, recipe=config))
        assert read(tmp_path / f"{name}.toml")[0].recipe == config


# --- the command


SMALL = ["--encoder-depth", "2", "--batch-size", "2", "--checkpoints", "2", "--accelerator", "cpu", "--workers", "1"]


@pytest.fixture
def common(protocol_file, world, stores, tmp_path):
    folders = {"--data": world, "--stores": stores, "--results": tmp_path / "results"}
    return [str(protocol_file), *(str(word) for pair in folders.items() for word in pair), *SMALL]


def _results(common):
    return Path(common[common.index("--results") + 1])


def test_steps_are_doubled_and_tables_then_say_what_is_known(common, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(calibration, "THRESHOLD", -1.0)  # so that it cannot converge
    calibrate = ["calibrate", *common, "--folds", "2020", "--start", "2", "--most", "9"]
    assert main(calibrate) == 0
    told = capsys.readouterr().out
    assert "tiny-v1, 2 steps (length 1 of at most 3): 2 runs of source-only, 0 done before, 2 to do" in told
    assert "8 steps (length 3 of at most 3)" in told and "4 steps follow: 2 runs, each of about " in told
    assert "not shown to be converged at 8 steps" in told and "compare:" not in told
    (found,) = read(tmp_path / "results" / "calibration" / "tiny.toml")
    assert [point.steps for point in found.points] == [2, 4, 8] and found.protocol_folds == 2
    assert {fold: len(of) for fold, of in found.points[0].values.items()} == {"2020": 2}

    results, experiment = ResultsFolder(tmp_path / "results"), "tiny-v1 (calibration)"
    runs = results.runs(experiment)
    values = {(run.facts["steps"], run.facts["seed"]): run.metrics["selected/source_val_miou"] for run in runs}
    assert found.points[1].values["2020"] == pytest.approx([values["4", "0"], values["4", "1"]], abs=1e-6)
    mlflow = results.client.api
    (summary,) = (known["run"] for known in results.document(experiment, SUMMARIES).values())
    curve = mlflow.get_metric_history(summary, "calibration/source_val_miou")
    assert [(at.step, at.value) for at in curve] == [(point.steps, pytest.approx(point.mean)) for point in found.points]
    assert "not shown to be converged at 8" in _note(results, experiment)

    file = tmp_path / "results" / "calibration" / "tiny.toml"
    written = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(calibrating, "finished", lambda session, jobs: finished(session, jobs)[1:])
        assert main(calibrate) == 1
    assert "1 of 2 runs with 2 steps are not finished, so no curve is written" in capsys.readouterr().out
    assert main([*calibrate[:-1], "4"]) == 0  # --most
    assert f"not written: in {file} is a curve up to 8 steps" in capsys.readouterr().out
    assert file.read_bytes() == written

    monkeypatch.setattr(calibration, "THRESHOLD", 1.0)
    assert main(calibrate) == 0
    told = capsys.readouterr().out
    assert told.count("2 done before, 0 to do") == 2 and len(results.runs(experiment)) == len(runs)
    assert "calibrated: converged at 2 steps" in told and "(measured on 2020 alone)" in told
    following = told.partition("compare: ")[2].splitlines()[0]
    assert following == shlex.join(["landshift", "run", *common, "--steps", "2"])
    assert len(results.summaries(experiment)) == 1

    run = [*shlex.split(following)[1:], "--folds", "2020", "--method", "source-only"]
    assert main(run) == 0
    told = capsys.readouterr().out
    page = (tmp_path / "results" / "tiny-v1" / "comparison.md").read_text(encoding="utf-8")
    assert "; calibrated: converged at 2 steps; source-only would " in page.splitlines()[-1]
    assert "\nnot " not in told and "<li>not " not in (tmp_path / "results/tiny-v1/comparison.html").read_text()

    monkeypatch.setattr(calibration, "THRESHOLD", -1.0)
    results.database.edit("tiny-v1", "report", lambda old: None)  # what was printed is of other code
    assert main(["report", *common[:1], *common[5:7]]) == 0
    verdict = "not shown to be converged at 2 steps; source-only would "
    assert capsys.readouterr().out.startswith(verdict)
    page = (tmp_path / "results" / "tiny-v1" / "comparison.md").read_text(encoding="utf-8")
    assert page.splitlines()[2].startswith(f"**{verdict}")
    assert f"<li>{verdict}" in (tmp_path / "results/tiny-v1/comparison.html").read_text(encoding="utf-8")
    assert f"**{verdict}" in _note(results, "tiny-v1")


def _note(results, experiment):
    return results.client.api.get_experiment_by_name(experiment).tags["mlflow.note.content"]


def test_a_run_is_not_calibrated_until_it_was_measured(common, capsys):
    """For which the run counts."""
    assert main(["run", *common, "--steps", "2", "--folds", "2020", "--method", "source-only"]) == 0
    assert "\nnot calibrated: what more steps would gain is not known (see landshift calibrate)\n" in (
        capsys.readouterr().out
    )
    assert main(["calibrate", *common, "--folds", "2020", "--seeds", "0", "--start", "2", "--most", "4"]) == 0
    told = capsys.readouterr().out
    assert "1 runs of source-only, 1 done before, 0 to do" in told and "4 steps: source validation" in told
    results, experiment = ResultsFolder(_results(common)), "tiny-v1 (calibration)"
    assert {(run.facts["steps"], bool(run.run)) for run in results.runs(experiment)} == {("2", True), ("4", True)}


def test_a_curve_that_mlflow_does_not_take_is_written_all_the_same(common, capsys, monkeypatch):
    def refuse(*arguments):
        raise TrackingError("MLflow at http://host cannot be used: no route")

    monkeypatch.setattr("benchmark.experiments.results.publish_summary", refuse)
    assert main(["calibrate", *common, "--folds", "2020", "--seeds", "0", "--start", "2", "--most", "4"]) == 0
    told = capsys.readouterr()
    (line,) = (line for line in told.err.splitlines() if "MLflow" in line)
    assert line.startswith("the curve is not in MLflow yet: MLflow at http://host cannot be used: no route. The same")
    assert "written: " in told.out and len(read(_results(common) / "calibration" / "tiny.toml")[0].points) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--start", "8", "--most", "15"], "--most must be at least twice --start (8), not 15"),
        (["--publish"], "landshift is installed without it"),
        (["--start", "1"], "checkpoints must be at most the steps (1), not 2"),
        (["--folds", "1999"], "has no fold 1999"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(common, capsys, words, told):
    assert main(["calibrate", *common, *words]) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


@pytest.mark.parametrize("words", [["--steps", "4"], ["--star", "4"], ["--seed=3"]])
def test_the_number_of_steps_is_no_option_and_options_are_written_out(common, words):
    with pytest.raises(SystemExit):
        main(["calibrate", *common, *words])
