"""Trainings inside the folds, and the rule that reads them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.synthetic import World, generate
from benchmark.experiments.jobs import Bench
from benchmark.experiments.request import TunedRows, key_of
from benchmark.experiments.session import Session
from benchmark.reporting.collect import collect
from methods.base import MethodError

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
LABELS = ["source-only", "entropy-minimization", "oracle"]
RULE = "leave-one-source-domain-out"


@pytest.fixture(scope="module")
def three_times(plan, tmp_path_factory):
    """A plan on a world of three times, so that the source of a fold has two."""
    root = tmp_path_factory.mktemp("three-times")
    generate(World(places=1, times=3, zones=12, zone_side=1, patch_size=32), root / "world")
    return replace(plan, data=root / "world", results=root / "results")


@pytest.fixture(scope="module")
def bench(three_times):
    return Bench(three_times)


def test_there_is_a_job_for_each_source_domain_but_none_for_a_bound(bench):
    jobs = bench.jobs(LABELS, [0], ["2020"], nested=True)
    places = [(job.label, job.fold) for job in jobs]
    inner = ("2020 without 2019", "2020 without 2021")
    assert places == [(label, fold) for fold in inner for label in LABELS[:2]]
    assert len({job.identity for job in [*jobs, *bench.jobs(LABELS, [0])]}) == 4 + 9
    assert bench.facts(jobs[0])["inside"] == "2020" and bench.facts(jobs[0])["inside_of"] == 2
    assert "inside" not in bench.facts(bench.jobs(LABELS, [0])[0])


def test_other_patches_inside_a_fold_are_another_job(three_times, bench):
    """The fingerprint of the protocol says nothing of how its folds are cut once more."""
    other, name = Bench(three_times), "2020 without 2019"
    fold = other.fold(name)
    fewer = {**fold.parts, "source_train": fold.parts["source_train"][1:]}
    other.nested["2020"][name] = replace(fold, parts=fewer)
    jobs = [each.jobs(["source-only"], [0], ["2020"], nested=True) for each in (bench, other)]
    changed = [mine.fold for mine, theirs in zip(*jobs, strict=True) if mine.identity != theirs.identity]
    assert changed == [name]


def test_the_target_of_the_fold_is_seen_by_none_of_them(bench):
    hidden = {
        bench.store.rows([patch])[0]
        for part in ("target_adapt", "target_test")
        for patch in bench.folds["2020"].parts[part]
    }
    assert bench.nested["2020"]
    for name in bench.nested["2020"]:
        data = bench.fold_data(name)
        assert all(len(part.rows) for part in data.parts.values())
        assert (
            not hidden & {row for part in data.parts.values() for row in part.rows.tolist()} and "few" not in data.parts
        )


def test_the_rule_takes_the_mean_over_the_source_domains(three_times, bench):
    outer, inner = Session(three_times, bench=bench), Session(three_times, bench=bench, nested=True)
    jobs, within = bench.jobs(LABELS[:2], [0], ["2020"]), bench.jobs(LABELS[:2], [0], ["2020"], nested=True)
    outer.remember(jobs)
    ends = []
    for session, some in ((outer, jobs), (inner, within)):
        session.run(some, on_end=ends.append)
    assert not any(end.error for end in ends)
    state = collect(outer.results, outer.experiment)
    assert len(state.cells) == 2, "what is inside a fold is no cell"
    runs = inner.results.runs(inner.experiment)
    for cell in state.cells:
        mine = [run.artifacts / "checkpoints.json" for run in runs if run.facts["method"] == cell.method]
        left_out = [[record["target_miou"] for record in json.loads(path.read_text())] for path in mine]
        assert len(left_out) == 2
        assert [record.scores[RULE] for record in cell.records] == pytest.approx(np.mean(left_out, axis=0))
    assert RULE in {line.rule for line in state.rules}
    rows = {f"{label} (tuned)": dict.fromkeys(bench.folds, label) for label in LABELS[:2]}
    tuned = TunedRows("by-hand", "tuned by hand", rows)
    outer.remember([], tuned, jobs)
    shared = collect(outer.results, outer.experiment, key_of(bench, tuned))
    scores = {cell.method: [record.scores[RULE] for record in cell.records] for cell in state.cells}
    for cell in shared.cells:
        assert [record.scores[RULE] for record in cell.records] == scores[cell.method.removesuffix(" (tuned)")]
    assert RULE in {line.rule for line in shared.rules}


def test_a_source_of_one_domain_has_no_folds_inside(session):
    assert session.bench.jobs(["source-only"], [0], nested=True) == []
    with pytest.raises(MethodError):
        session.bench.jobs(["sourceonly"], [0], nested=True)
