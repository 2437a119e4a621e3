"""A results folder with finished runs, one of them inside a fold, and the published table of the others."""

import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmark.data.synthetic import World, generate
from benchmark.experiments.jobs import ExperimentPlan
from benchmark.experiments.session import Session
from benchmark.reporting.collect import collect
from benchmark.reporting.table_file import TABLE, as_json
from benchmark.reporting.tables import cells_csv, markdown_page


@dataclass(frozen=True)
class Trained:
    """A plan that was run: `runs` are the keys by (method, fold, seed); `published` is its table's folder."""

    plan: ExperimentPlan
    session: Session
    runs: dict[tuple[str, str, int], str]
    published: Path

    @property
    def options(self) -> list[str]:
        return ["--results", str(self.plan.results), "--stores", str(self.plan.stores)]


@pytest.fixture(scope="session")
def trained(protocol_file, recipe, tmp_path_factory) -> Trained:
    root = tmp_path_factory.mktemp("replay")
    generate(World(places=1, times=3, zones=8, zone_side=1, patch_size=32), root / "world")
    plan = ExperimentPlan(
        str(protocol_file), root / "world", root / "results", root / "stores", recipe, accelerator="cpu"
    )
    session = Session(plan)
    inner = Session(plan, bench=session.bench, nested=True)
    jobs = session.bench.jobs(["source-only", "tent"], [0, 1], ["2020"])
    within = inner.bench.jobs(["source-only"], [0], ["2020"], nested=True)[:1]
    session.remember(jobs)
    ends = []
    session.run(jobs, on_end=ends.append)
    inner.run(within, on_end=ends.append)
    assert [end.error for end in ends] == [""] * 5
    records = session.results.runs("")
    runs = {(r.facts["method"], r.facts["fold"], int(r.facts["seed"])): r.id for r in records}
    state = collect(session.results, session.experiment)
    published = root / "published"
    published.mkdir()
    (published / TABLE).write_text(as_json(state))
    (published / "cells.csv").write_text(cells_csv(state.cells))
    (published / "comparison.md").write_text(markdown_page(state.lines, state.cells, state.grid, "all the same"))
    return Trained(replace(plan), session, runs, published)


@pytest.fixture(autouse=True)
def signals():
    """The command line answers SIGTERM in its own way; the other tests' processes must not inherit that."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
