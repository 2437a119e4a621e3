"""What becomes of a training's checkpoints: each is scored with its own weights, and a fair rule chooses the headline.

The method here has the truth, and is right in a share of every patch that depends on the steps it has done.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from benchmark.common.errors import TrainingError
from benchmark.data.classes import IGNORE
from benchmark.experiments.jobs import Bench
from benchmark.experiments.run_folder import RunFolder
from benchmark.experiments.run_job import Outcome, _source_weights, run_job, run_metrics, train_and_score
from benchmark.tracking import RunInfo
from benchmark.training.prediction import METRICS
from methods.base import Method, Needs
from methods.entropy_minimization import EntropyMinimization

pytestmark = pytest.mark.usefixtures("networks_once", "one_thread")
RIGHT = {2: {"source": 0.9, "target": 0.1}, 4: {"source": 0.5, "target": 0.9}, 6: {"source": 0.1, "target": 0.5}}
"""By steps done. Source validation falls, the target is best in the middle: each rule takes another checkpoint."""


@pytest.fixture
def known(data):
    """Share kind and mask of each patch by the bytes of its image."""
    rows = np.arange(len(data.store.ids))
    source = {row for part in ("source_train", "source_val") for row in data.parts[part].rows.tolist()}
    images, masks = data.store.read(rows), data.store.labels_of(rows).read(rows)
    return {images[row].tobytes(): ("source" if row in source else "target", masks[row]) for row in rows.tolist()}


def _method(known, needs):
    class Foreseen(Method):
        """Its only state is the number of steps done, which belongs to a checkpoint like any weight."""

        def setup(self):
            self.register_buffer("done", torch.zeros((), dtype=torch.int64))

        def losses(self, source, target, progress):
            batch = target if needs.trains_on_target else source
            return {"small": self.network(batch).square().mean()}

        def after_step(self, progress):
            self.done += 1

        def predict(self, batch):
            classes = len(self.task.classes)
            shown = []
            for image in batch.images.byte().numpy():
                kind, mask = known.get(image.tobytes(), ("source", np.zeros(image.shape[1:], np.uint8)))  # a mixture
                truth = torch.from_numpy(np.where(mask == IGNORE, 0, mask)).long()
                wrong = round((1 - RIGHT[self.done.item()][kind]) * len(truth))
                truth[:wrong] = (truth[:wrong] + 1) % classes
                shown.append(torch.nn.functional.one_hot(truth, classes).permute(2, 0, 1).float())
            return torch.stack(shown)

    Foreseen.needs = needs
    return Foreseen


@pytest.fixture
def outcome(known, data, recipe, request) -> Outcome:
    """Of six steps with a checkpoint after every second."""
    fabric, recipe = Fabric(accelerator="cpu", devices=1), replace(recipe, steps=6, checkpoints=3)
    return train_and_score(
        fabric, _method(known, request.param), None, data, recipe, 0, lambda metrics, step: None, lambda share: None
    )


@pytest.fixture
def named(data):
    """What the metrics need of one."""
    return SimpleNamespace(task=data.task)


fair = pytest.mark.parametrize("outcome", [Needs.SOURCE_LABELS], indirect=True)


@fair
def test_every_checkpoint_is_scored_with_its_own_weights(outcome):
    assert outcome.steps == [2, 4, 6]
    for kind, scores in (("source", outcome.source_val), ("target", outcome.target)):
        right = [METRICS["overall_accuracy"](found.total()) for found in scores]
        assert right == pytest.approx([RIGHT[step][kind] for step in outcome.steps], abs=0.1)
    few = [record.scores["few-target-labels"] for record in outcome.records]
    assert few[1] > few[2] > few[0], "what else the rules know is of the same weights"
    for record, source, target in zip(outcome.records, outcome.source_val, outcome.target, strict=True):
        assert record.source_val_miou == METRICS["miou"](source.total())
        assert record.target_miou == METRICS["miou"](target.total())


@fair
def test_each_rule_takes_its_own_checkpoint_and_source_validation_makes_the_headline(outcome, named):
    taken = {name: outcome.selected[name] for name in ("source-validation", "oracle-rule", "last-step")}
    assert taken == {"source-validation": 0, "oracle-rule": 1, "last-step": 2} and outcome.chosen == 0
    assert outcome.weights["done"] == 2, "the weights that are kept are those of the headline"
    metrics, miou = run_metrics(named, outcome), METRICS["miou"]
    assert metrics["selected/step"] == 2
    assert metrics["target/miou"] == miou(outcome.target[0].total())
    assert metrics["selected/source_val_miou"] == miou(outcome.source_val[0].total())
    assert metrics["selected/drop"] == metrics["selected/source_val_miou"] - metrics["target/miou"]
    for name, index in taken.items():
        assert metrics[f"selection/{name}/target_miou"] == miou(outcome.target[index].total())


@pytest.mark.parametrize("outcome", [Needs.TARGET_LABELS, Needs.SOURCE_MODEL], indirect=True)
def test_what_source_validation_says_nothing_of_is_taken_at_the_last_step(outcome, named):
    assert outcome.chosen == 2 and outcome.weights["done"] == 6
    assert run_metrics(named, outcome)["target/miou"] == METRICS["miou"](outcome.target[2].total())


def test_a_job_is_trained_with_what_it_names(plan, results, monkeypatch):
    """A label's learning rate and hyperparameters, the fold, the seed and the precision reach the training."""
    reached = {}

    def train(fabric, **given):
        reached.update(given, precision=fabric.strategy.precision.precision)
        raise TrainingError("enough")

    monkeypatch.setattr("benchmark.experiments.run_job.train_and_score", train)
    bench = Bench(replace(plan, recipe=replace(plan.recipe, precision="bf16-mixed")))
    (job,) = bench.jobs(["entropy-minimization[weight=0.01,recipe.learning_rate=0.5]"], [3], ["2020"])
    run = RunFolder(results.folder, job.identity, 1, RunInfo("a run", {}, {}))
    with pytest.raises(TrainingError, match="enough"):
        run_job(bench, job, results, run, lambda share: None)
    assert reached["method"] is EntropyMinimization and reached["hyperparameters"].weight == 0.01
    assert reached["recipe"] == replace(bench.plan.recipe, learning_rate=0.5) and reached["precision"] == "bf16-mixed"
    assert reached["seed"] == 3 and reached["weights"] is None and run.tags["device"] == "cpu"
    for name, part in bench.fold_data("2020").parts.items():
        assert np.array_equal(reached["data"].parts[name].rows, part.rows)


def test_the_weights_of_a_source_model_that_are_missing_are_named(results, add_run):
    add_run(results, "experiment", "source", {"method": "source-only"})
    with pytest.raises(TrainingError, match=r"source-only run source, from which it starts, are not in .*weights\."):
        _source_weights(results, "source")
