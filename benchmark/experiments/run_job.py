"""Running one job: train, score every checkpoint, choose, and log it all."""

import csv
import importlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmark.common.errors import LandshiftError, SettingsError, TrainingError
from benchmark.data.classes import slug
from benchmark.data.patch_images import choose_patches, prediction_panel
from benchmark.data.scaling import Scaling
from benchmark.data.series.corruptions import CORRUPTIONS, MISSING
from benchmark.evaluation.selection import RULES, Record, select
from benchmark.experiments.checkpoint_records import CHANGED_NETWORK, CONFUSIONS, PANEL, SETTINGS, ZONES, write_records
from benchmark.experiments.confidence_record import write_confidences
from benchmark.experiments.jobs import Bench, Job, selection_rule
from benchmark.experiments.labels import parse_label
from benchmark.experiments.provenance import Provenance, environment
from benchmark.experiments.queue import DONE, LeaseLost
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_folder import RunFolder, folder_of, savepoints_of
from benchmark.experiments.run_record import run_name
from benchmark.training.confidence_sums import confidence_sums
from benchmark.training.config import TrainingConfig
from benchmark.training.decisions import PRIOR, RANKSEG, STRENGTHS, Decision, adjust_by_prior, rank_pixels
from benchmark.training.devices import device_name, make_fabric
from benchmark.training.fold_data import FoldData
from benchmark.training.loop import fitted
from benchmark.training.prediction import (
    DECISION,
    METRICS,
    Scores,
    StreamScores,
    by_domain,
    decision_metrics,
    evaluate_decisions,
    missing_metrics,
    stream_metrics,
    target_metrics,
)
from benchmark.training.savepoints import Savepoints
from benchmark.training.target_sample import Look, look, scores_of_all, source_shares
from benchmark.training.trainer import Stepper, evaluate_part, network_weights, state_of
from methods.base import Method, MethodError, Needs, TargetBatch
from methods.sources import blamed

PANEL_PATCHES = 4
Log = Callable[[Mapping[str, float], int], None]
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Outcome:
    """Outcome of a training: scores of every checkpoint, and the chosen one's weights and some predictions.

    Attributes:
        steps: step of each checkpoint.
        source_val, target: scores of each checkpoint.
        stream: scores of the test stream, for a method that learns from it.
        missing: scores of the chosen checkpoint on the target with series of which something is missing, by what is
            (`CORRUPTIONS`); none where the network sees no series.
        decisions: scores of the chosen checkpoint by decisions other than argmax, by name.
        records: what the selection rules know of each checkpoint.
        samples: (n, C) probabilities of each for the fixed sample of the target; none where there is no sample.
        selected: index of the checkpoint that each selection rule takes, where it takes one.
        scoring_seconds: seconds that the rules cost beyond source validation and the test.
        chosen: the index of the checkpoint that is the headline.
        weights: all that the method held at that checkpoint.
        panel_rows: store rows of the patches in the picture; their predicted classes are kept in the scores.
        seconds: seconds of training without evaluation; of the test stream's prediction for its methods.
        images_per_second: training images, source and target.
        gpu_memory: peak in bytes; 0 on a CPU.
        changed_network: see `Stepper`.
        method: method as it was at that checkpoint.
    """

    steps: list[int]
    source_val: list[Scores]
    target: list[Scores]
    stream: StreamScores | None
    missing: Mapping[str, Scores]
    decisions: Mapping[str, Scores]
    records: list[Record]
    samples: list[np.ndarray]
    selected: dict[str, int]
    scoring_seconds: float
    chosen: int
    weights: dict[str, Tensor]
    panel_rows: np.ndarray
    seconds: float
    images_per_second: float
    gpu_memory: int
    changed_network: str
    method: Method


def run_job(bench: Bench, job: Job, results: ResultsFolder, run: RunFolder, report: Callable[[float], None]) -> None:
    """Train a job, score its checkpoints, and write all of it into the folder of its run.

    Args:
        report: takes the share of the training that is done.

    Raises:
        LandshiftError and others: whatever went wrong.
    """
    torch.set_num_threads(1)  # sums in another order are other bits; processes, not threads, fill the cores
    threadpool_limits(1)  # those of NumPy and SciPy
    setting = parse_label(job.label)
    recipe, data = setting.recipe(bench.plan.recipe), bench.fold_data(job.fold)
    fabric = make_fabric(bench.plan.accelerator, recipe.precision)
    provenance = Provenance.here(device_name(fabric))
    run.tag("device", provenance.device)
    savepoints = Savepoints(
        savepoints_of(results.folder, job.identity),
        {"identity": job.identity, **provenance.key},
        bench.plan.save_every,
        run_name(run.info.facts),
    )
    log: Log = run.log
    if job.trial and job.trial.study:
        log = _watcher(job.trial.watch)(log, results, bench, job)
    try:
        outcome = train_and_score(
            fabric,
            method=setting.method,
            hyperparameters=setting.hyperparameters,
            data=data,
            recipe=recipe,
            seed=job.seed,
            log=log,
            report=report,
            weights=_source_weights(results, job.parent) if job.parent else None,
            savepoints=savepoints,
        )
    except (LandshiftError, MethodError, LeaseLost):
        raise
    except Exception as error:  # most often a mistake in the method, deep in a library
        raise TrainingError(blamed(error, setting.method)) from error
    if outcome.changed_network:
        run.tag(CHANGED_NETWORK, outcome.changed_network)
    for record in outcome.records:
        run.log({f"selection_score/{name}": value for name, value in record.scores.items()}, record.step)
    run.log(run_metrics(bench, outcome))
    _write_artifacts(bench, job, outcome, data.scaling, run.path)


def _watcher(name: str) -> Callable[..., Log]:
    """Return the function that a trial names; it is imported here, so that a comparison does without Optuna."""
    module, _, function = name.partition(":")
    if not module.startswith("benchmark."):
        raise SettingsError(f"a trial cannot be watched by {name!r}")
    watch: Callable[..., Log] = getattr(importlib.import_module(module), function)
    return watch


def _source_weights(results: ResultsFolder, parent: str) -> dict[str, Tensor]:
    """Return the network of the source-only run that a job starts from.

    Raises:
        TrainingError: its files are missing.
    """
    (row,) = results.queue.rows(keys=[parent])
    path = folder_of(results.folder, parent) / WEIGHTS
    if not path.is_file():
        path = results.files(parent, results.whole_run(parent)) / WEIGHTS
    if row.state != DONE or not path.is_file():
        raise TrainingError(f"the weights of the source-only run {parent}, from which it starts, are not in {path}")
    return network_weights(load_file(path))


def train_and_score(
    fabric: Fabric,
    method: type[Method],
    hyperparameters: Any,
    data: FoldData,
    recipe: TrainingConfig,
    seed: int,
    log: Log,
    report: Callable[[float], None],
    weights: Mapping[str, Tensor] | None = None,
    savepoints: Savepoints | None = None,
) -> Outcome:
    """Train on a fold, then open the test's labels and score every checkpoint.

    Training starts from the weights of a source model if there are any.
    """
    if fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(fabric.device)
    stepper = Stepper(fabric, method, hyperparameters, data, recipe, seed, log, weights)
    with fitted(stepper, report, savepoints) as trained:
        test_rows = data.parts["target_test"].rows
        panel_rows = test_rows[choose_patches(data.store.class_counts(test_rows)[:, :-1], PANEL_PATCHES)]
        keep = panel_rows.tolist()
        source_val = [checkpoint.source_val for checkpoint in trained.checkpoints]
        target, stream, seconds, images = [], None, trained.seconds, trained.images
        looks: list[Look] = []
        for checkpoint in trained.checkpoints:
            trained.load(checkpoint)
            sums = confidence_sums(fabric, trained.method, data, checkpoint.source_val.temperature)
            if method.needs is Needs.TEST_STREAM:
                started = time.perf_counter()
                stream = stepper.stream(recipe.batch_size, keep, sums.add)
                scores = stream.before
                seconds, images = time.perf_counter() - started, len(data.parts["target_test"].rows)
            else:
                scores = evaluate_part(fabric, trained.method, data, "target_test", keep, sums.add)
                looks.append(look(fabric, trained.method, data, recipe.crop))
            target.append(replace(scores, confidence=sums.confidence()))
        started = time.perf_counter()
        by_validator = scores_of_all(looks) if looks else [{} for _ in target]
        scoring = time.perf_counter() - started + sum(each.seconds for each in looks)
        records = [
            Record(checkpoint.step, METRICS["miou"](source.total()), METRICS["miou"](test.total()), scores)
            for checkpoint, source, test, scores in zip(
                trained.checkpoints, source_val, target, by_validator, strict=True
            )
        ]
        taken = {name: select(records, name) for name in RULES}
        selected = {name: index for name, index in taken.items() if index is not None}
        chosen = selected[selection_rule(method)]
        trained.load(trained.checkpoints[chosen])
        missing = _scores_of_missing(fabric, trained.method, data)
        decisions = _scores_of_decisions(fabric, trained.method, data)
        if missing or decisions:
            trained.load(trained.checkpoints[chosen])  # what is predicted may leave traces in a method
        return Outcome(
            steps=[checkpoint.step for checkpoint in trained.checkpoints],
            source_val=source_val,
            target=target,
            stream=stream,
            missing=missing,
            decisions=decisions,
            records=records,
            samples=[softmax(each.evidence.target, axis=1) for each in looks if each.evidence],
            selected=selected,
            scoring_seconds=scoring,
            chosen=chosen,
            weights={name: value.cpu().clone().contiguous() for name, value in state_of(trained.method).items()},
            panel_rows=panel_rows,
            seconds=seconds,
            images_per_second=images / seconds,
            gpu_memory=torch.cuda.max_memory_allocated(fabric.device) if fabric.device.type == "cuda" else 0,
            changed_network=stepper.changed_network,
            method=trained.method,
        )


def _scores_of_missing(fabric: Fabric, method: Method, data: FoldData) -> dict[str, Scores]:
    """Return the scores of the test with each of `CORRUPTIONS`; none where the network sees no series.

    There are none of the methods of the test stream, either: their result is what they learn from the stream, so that
    another one is another training, and what they have learned from the whole series says nothing of missing ones.
    """
    if data.series is None or method.needs is Needs.TEST_STREAM:
        return {}
    return {
        name: evaluate_part(fabric, method, data.with_missing(each), "target_test")
        for name, each in CORRUPTIONS.items()
    }


def _scores_of_decisions(fabric: Fabric, method: Method, data: FoldData) -> dict[str, Scores]:
    """Return the scores of the test by each decision other than argmax; none of the methods of the test stream.

    The strength of the prior is chosen on source validation, so that what sees no source data has none.
    """
    if method.needs is Needs.TEST_STREAM:
        return {}
    decisions: dict[str, Decision] = {RANKSEG: rank_pixels}
    method.eval()
    if not method.needs.starts_from_source:

        def predict_source(batch: TargetBatch) -> Tensor:
            return method.require_logits(method.predict_source(batch), batch)

        by_strength = {f"{each}": adjust_by_prior(source_shares(data), each) for each in STRENGTHS}
        tried = evaluate_decisions(fabric, predict_source, data, "source_val", by_strength)
        decisions[PRIOR] = by_strength[max(tried, key=lambda name: METRICS["miou"](tried[name].total()))]
    scores = evaluate_decisions(fabric, method.checked_logits, data, "target_test", decisions)
    method.train()
    return scores


def run_metrics(bench: Bench, outcome: Outcome) -> dict[str, float]:
    """Return the run's final metrics, of the chosen checkpoint unless the name says otherwise."""
    index = outcome.chosen
    target, source = outcome.target[index], outcome.source_val[index]
    loss = target.loss if math.isfinite(target.loss) else math.nan  # an infinite one is no number to report
    metrics = target_metrics(target, bench.task.classes) | {"target/loss": loss}
    metrics["selected/step"] = outcome.steps[index]
    metrics["selected/source_val_miou"] = METRICS["miou"](source.total())
    metrics["selected/drop"] = metrics["selected/source_val_miou"] - metrics["target/miou"]
    for rule, selected in outcome.selected.items():
        metrics[f"selection/{rule}/target_miou"] = METRICS["miou"](outcome.target[selected].total())
    if outcome.stream:
        metrics |= stream_metrics(outcome.stream)
    metrics |= missing_metrics(outcome.missing) | decision_metrics(outcome.decisions)
    metrics["time/training_seconds"] = outcome.seconds
    metrics["time/scoring_seconds"] = outcome.scoring_seconds
    metrics["time/images_per_second"] = outcome.images_per_second
    if outcome.gpu_memory:
        metrics["time/gpu_memory_gib"] = outcome.gpu_memory / 2**30
    return metrics


def _write_artifacts(bench: Bench, job: Job, outcome: Outcome, scaling: Scaling, folder: Path) -> None:
    """Write the record of the run: one confusion matrix a zone, part and checkpoint; and what a person looks at.

    Beside them, the counts of the test by confidence.
    """
    arrays: dict[str, Any] = {}
    whole = {"source_val": outcome.source_val, "target_test": outcome.target}
    tests = {part: dict(zip(outcome.steps, scores, strict=True)) for part, scores in whole.items()}
    tests |= {f"{MISSING}/{name}": {outcome.steps[outcome.chosen]: score} for name, score in outcome.missing.items()}
    tests |= {f"{DECISION}/{name}": {outcome.steps[outcome.chosen]: score} for name, score in outcome.decisions.items()}
    for part, by_step in tests.items():
        zones = sorted(next(iter(by_step.values())).confusions)  # the same at all steps
        arrays[f"{ZONES}/{part}"] = np.array(zones)
        for step, score in by_step.items():
            arrays[f"{step}/{part}"] = np.stack([score.confusions[zone] for zone in zones])
    np.savez_compressed(folder / CONFUSIONS, **arrays)
    write_confidences(folder, {step: test.confidence for step, test in tests["target_test"].items()})
    save_file(outcome.weights, folder / WEIGHTS, scaling.as_texts() or None)
    write_records(folder, outcome.records, outcome.samples)
    settings = {
        "facts": bench.facts(job),
        "recipe": asdict(bench.plan.recipe),
        "classes": bench.task.classes,
        "asked": bench.plan.protocol,
        "shared": bench.shared,
        "content": bench.content(job.label, job.fold, job.seed),
        **environment(),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")

    chosen = outcome.target[outcome.chosen]
    (folder / "confusion").mkdir()
    for domain, confusion in by_domain(chosen).items():
        counted = zip([*bench.task.classes, "(ignored)"], confusion.tolist(), strict=True)
        with (folder / "confusion" / f"{slug(domain)}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")  # a class may have a comma in its name
            table.writerow(["true \\ predicted", *bench.task.classes])
            table.writerows([name, *counts] for name, counts in counted)

    rows = outcome.panel_rows
    truth = bench.store.labels_of(rows).read(rows)
    predicted = np.stack([chosen.kept[row] for row in rows.tolist()])
    ids = [bench.store.ids[row] for row in rows.tolist()]
    panel = prediction_panel(bench.store.read(rows), truth, predicted, bench.catalog.classes, bench.catalog.bands, ids)
    panel.save(folder / PANEL)
