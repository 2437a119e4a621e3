"""A run on real FLAIR patches: too few to learn from, enough to prove the whole way from file to metric."""

import pytest

from benchmark.experiments.jobs import ExperimentPlan
from benchmark.experiments.session import Session
from benchmark.training.config import make_recipe

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")

PROTOCOL = """
name = "five-patches"
version = 1
dataset = "flair2"
title = "t"
description = "d"
confounds = "c"
[split]
adapt_share = 0.0
[[fold]]
name = "test"
target = {place = ["D036"]}
source_val = {place = ["D004"]}
"""


def test_real_patches_train_and_are_scored(shared_data, tmp_path):
    protocol = tmp_path / "five.toml"
    protocol.write_text(PROTOCOL)
    recipe = make_recipe("tiny", {"steps": 2, "checkpoints": 1, "batch_size": 2})
    plan = ExperimentPlan(
        str(protocol), shared_data("flair1"), tmp_path / "results", tmp_path / "stores", recipe, "cpu"
    )
    session = Session(plan)
    assert session.bench.store.size == 512 and len(session.bench.store.ids) == 5
    jobs = session.bench.jobs(["source-only", "oracle"], [0])
    assert "no target_adapt part" in jobs[1].skip
    ends = []
    session.run(jobs[:1], on_end=ends.append)
    assert not ends[0].error and 0 <= ends[0].miou <= 1
    metrics = session.results.finished(session.experiment)[jobs[0].identity].metrics
    assert {"target/miou_flair_challenge", "target/miou_flair_main", "target_domain/d036_2020/miou"} <= set(metrics)
