"""The Python interface: what the command line does, with objects."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import landshift
from benchmark.experiments.results import ResultsFolder as Folder
from benchmark.experiments.session import Session
from methods.base import MethodError

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")


class Mine(landshift.Method):
    """Source-only with its loss doubled."""

    def losses(self, source, target, progress):
        return {"segmentation": 2 * self.segmentation_loss(source)}


class Wrong(landshift.Method):
    """It has no losses."""


@pytest.fixture(scope="module")
def arguments(plan):
    return {"config": plan.recipe, "data": plan.data, "stores": plan.stores, "accelerator": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def results(plan, arguments, tmp_path_factory):
    methods = ["source-only", Mine, ("dacs", {"confidence": 0.9}), "oracle"]
    folder = tmp_path_factory.mktemp("api")
    return landshift.run(plan.protocol, methods, seeds=[0, 1], folds=["2020"], results=folder, **arguments)


def test_a_run_gives_the_numbers_of_its_jobs(results, plan):
    labels = ["source-only", f"{__name__}:Mine", "dacs[confidence=0.9]", "oracle"]
    assert results.runs[["method", "fold", "seed", "status"]].to_numpy().tolist() == [
        [label, "2020", seed, "done"] for label in labels for seed in (0, 1)
    ]
    finished = Folder(results.folder).finished("tiny-v1")
    expected = {(run.facts["method"], int(run.facts["seed"])): run.metrics["target/miou"] for run in finished.values()}
    found = {(row.method, row.seed): row["target/miou"] for _, row in results.runs.iterrows()}
    assert found == expected and len(found) == 8


def test_the_summary_is_a_row_a_method_the_best_first_and_bounds_last(results):
    summary, runs = results.summary(), results.runs
    assert set(summary.index) == set(runs["method"]) and summary["is_bound"].is_monotonic_increasing
    assert summary["target_miou"][~summary["is_bound"]].is_monotonic_decreasing
    means = runs.groupby("method")["target/miou"].mean()
    assert summary["target_miou"].to_dict() == pytest.approx(means.to_dict())
    gain = means["oracle"] - means["source-only"]
    assert summary.loc["oracle", "gain"] == pytest.approx(gain) and summary.loc["oracle", "is_bound"]


def test_methods_are_compared_with_any_of_them(results):
    means = results.runs.groupby("method")["target/miou"].mean()
    for to in ("source-only", "dacs[confidence=0.9]"):
        compared = results.compare(to="" if to == "source-only" else to)
        assert set(compared.index) == set(means.index) - {to}
        assert compared["gain"].to_dict() == pytest.approx((means - means[to]).drop(to).to_dict())
    with pytest.raises(landshift.LandshiftError, match="no method 'tent'"):
        results.compare(to="tent")


def test_what_is_finished_is_not_trained_again_and_can_be_loaded(results, plan, arguments):
    before = [(row.key, row.attempts) for row in Folder(results.folder).queue.rows()]
    again = landshift.run(plan.protocol, [Mine], seeds=[0, 1], folds=["2020"], results=results.folder, **arguments)
    assert [(row.key, row.attempts) for row in Folder(results.folder).queue.rows()] == before
    loaded = landshift.load_results(results.folder, plan.protocol)
    assert again.summary().equals(results.summary()) and loaded.runs.equals(results.runs)
    with pytest.raises(landshift.LandshiftError, match="name the protocol"):
        landshift.load_results(results.folder)  # the protocol is none of landshift's own
    with pytest.raises(landshift.LandshiftError, match="is no results folder"):
        landshift.load_results(results.folder / "nothing")


def test_it_is_shown_as_text_html_markdown_latex_and_a_figure(results, tmp_path):
    assert "not calibrated" in results.alarms[0] and not results.is_converged
    for text in (repr(results), results._repr_html_(), results.to_markdown(), results.to_latex()):
        assert "oracle" in text and "Mine" in text
    assert "<table" in results._repr_html_() and results.to_markdown().count("\n") == 5
    figure = results.plot(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000 and len(figure.axes) == 2
    import matplotlib

    assert matplotlib.get_backend().lower() == matplotlib.rcParams["backend"].lower(), "the user's own stays"


@pytest.mark.parametrize("method", ["source-only", "tent"])
def test_one_training_has_the_bits_of_the_run_in_a_comparison(method, bench, plan, arguments, tmp_path):
    model = landshift.train(method, plan.protocol, "2020", 1, **arguments)
    session = Session(replace(plan, results=tmp_path), bench=bench)
    jobs = session.bench.jobs([method], [1], ["2020"])
    session.run(jobs)
    run = session.results.finished(session.experiment)[jobs[-1].identity]
    same = {name: value for name, value in model.metrics.items() if value == value and not name.startswith("time/")}
    assert same == {name: run.metrics[name] for name in same} and model.target_miou == run.metrics["target/miou"]
    total = sum(model.confusions.values())
    assert total.shape == (len(model.classes) + 1, len(model.classes))
    images = np.random.default_rng(0).integers(0, 255, (2, 5, 32, 32), dtype=np.uint16)
    predicted = model.predict(images)
    assert predicted.shape == (2, 32, 32) and predicted.max() < len(model.classes)
    assert len(repr(model)) < 1000
    with pytest.raises(landshift.LandshiftError, match="no fold"):
        landshift.train(method, plan.protocol, "1999", **arguments)


def test_a_method_is_checked_and_says_what_is_wrong():
    checked = landshift.check_method(Mine)
    checked.raise_if_failed()
    assert set(checked.table["status"]) <= {"pass", "not applicable"} and "<table" in checked._repr_html_()
    with pytest.raises(landshift.LandshiftError, match=r"has no losses\(\)"):
        landshift.check_method(Wrong).raise_if_failed()


def test_methods_and_protocols_are_listed(plan):
    methods, protocols = landshift.list_methods(), landshift.list_protocols()
    assert methods.loc["dacs", "sees"] == "target images" and methods["idea"].str.len().min() > 10
    assert protocols.loc["world-leave-times-out", "dataset"] == "world"
    loaded = landshift.load_protocol(plan.protocol, plan.data)
    assert list(loaded.folds) == list(loaded.sizes.index) and loaded.protocol.name == "tiny"
    fold = loaded.folds["2020"]
    assert loaded.sizes.loc["2020", "target_test"] == len(fold.parts["target_test"]) > 0


def test_a_class_that_no_name_reaches_is_refused(plan, arguments):
    class Inside(Mine):
        pass

    with pytest.raises(MethodError, match="top level"):
        landshift.run(plan.protocol, [Inside], **arguments)
    with pytest.raises(MethodError, match="did you mean source-only"):
        landshift.run(plan.protocol, ["source-onl"], **arguments)


def _run_here(script):
    """As ``python script.py`` does, without another import of torch."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module = ModuleType("__main__")
    module.__file__ = str(script)
    try:
        exec(compile(script.read_text(encoding="utf-8"), script, "exec"), vars(module))
    finally:
        sys.modules["__main__"] = before


def _run_process(script):
    environment = {"PYTHONPATH": str(Path(landshift.__file__).parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


@pytest.mark.parametrize("run", [_run_here, pytest.param(_run_process, marks=pytest.mark.slow)])
def test_a_class_of_a_script_is_trained_and_another_version_of_it_anew(run, plan, tmp_path, monkeypatch, capsys):
    """Of a script, since a test's module can be imported."""
    monkeypatch.chdir(tmp_path)
    script = """
        import landshift

        FACTOR = {factor}

        def doubled(loss):
            return FACTOR * loss

        class Mine(landshift.Method):
            def losses(self, source, target, progress):
                return {{"segmentation": doubled(self.segmentation_loss(source))}}

        config = landshift.TrainingConfig.preset("tiny", steps=2, checkpoints=1, batch_size=2, encoder_depth=2)
        results = landshift.run(
            {protocol!r}, [Mine], folds=["2020"], config=config, data={data!r}, stores={stores!r}, results="r",
            accelerator="cpu", workers=2,
        )
        assert results.runs["status"].tolist() == ["done"]
    """
    told = []
    for factor in (2, 2, 3):
        text = script.format(factor=factor, protocol=plan.protocol, data=str(plan.data), stores=str(plan.stores))
        (tmp_path / "script.py").write_text(textwrap.dedent(text))
        run(tmp_path / "script.py")
        told.append(capsys.readouterr().out)
    assert "one worker: only this process knows a class" in told[0]
    assert ["0 done before, 0 skipped, 1 to do" in one for one in told] == [True, False, True]


def test_the_import_is_light():
    code = "import landshift, sys; print('torch' in sys.modules, 'pandas' in sys.modules); landshift.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False False\n" and "has no attribute 'nothing'" in done.stderr
    assert {*landshift.__all__} <= {*dir(landshift)} and all(getattr(landshift, name) for name in landshift.__all__)


def test_landshift_is_imported_beside_a_folder_of_its_name(tmp_path):
    """Of a clone: Python started in the folder above it would take the clone's folder for the module."""
    if any(name.startswith("__editable__") for name in sys.modules):
        pytest.skip("installed in an editable mode that only looks behind all folders; make install takes another")
    (tmp_path / "landshift").mkdir()
    shown = subprocess.run(
        [sys.executable, "-c", "import landshift; print(landshift.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip().endswith("landshift.py")
