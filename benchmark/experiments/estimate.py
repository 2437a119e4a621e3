"""Estimate of what a comparison would cost before it is trained: jobs, hours from finished runs, disk. Only reads."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark.common.console import duration
from benchmark.common.errors import SettingsError
from benchmark.data.datasets import is_here, open_catalog
from benchmark.data.shapes import Shape, shape_in, shape_of
from benchmark.data.store import is_decoded
from benchmark.experiments.jobs import Bench, ExperimentPlan, job_content, recipe_content
from benchmark.experiments.labels import control_label, installed_digest, parse_label
from benchmark.experiments.listing import Job, list_jobs, reason_to_skip, wanted_labels
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord
from benchmark.experiments.session import Work, sort_out
from benchmark.models.settings import name_of_network
from benchmark.training.config import TrainingConfig
from methods.base import Method, Needs
from protocols.cutting import cut
from protocols.expected import expected_sizes
from protocols.files import load

WEIGHED = 20  # of the last runs whose files are measured


@dataclass(frozen=True)
class Outline:
    """The outline of a protocol that a plan needs, with its data or without.

    Attributes:
        label: name of the protocol, with its version.
        fingerprint: fingerprint of its folds; "" where it is known only with the data.
        sizes: patches of each fold in source_train, source_val, target_adapt and target_test.
        shape: shape of a patch.
        patches: number of patches that the decoded store holds, at least.
        decoded: whether that store is there; else finished runs are not recognised.
        jobs: function that lists jobs of labels, folds and seeds, as `Bench.jobs` does.
        itemsize: bytes of a number of an image in that store.
    """

    label: str
    fingerprint: str
    sizes: Mapping[str, Sequence[int]]
    shape: Shape
    patches: int
    decoded: bool
    jobs: Callable[[Sequence[str], Sequence[str], Sequence[int]], list[Job]]
    itemsize: int = 1


def outline(plan: ExperimentPlan) -> Outline:
    """Return what is known of a plan's protocol: from its data, else what is pinned in it or published by its tables.

    Raises:
        SettingsError: there are neither data, nor pinned sizes, nor published counts.
        DataError, ProtocolError: the data or the protocol is wrong.
    """
    protocol = load(plan.protocol, partial=plan.partial)
    sizes: Mapping[str, Sequence[int]] = (protocol.sizes if not protocol.partial else {}) or expected_sizes(protocol)
    shape = shape_of(protocol.dataset)
    if is_here(protocol.dataset, plan.data):
        catalog = open_catalog(protocol.dataset, plan.data)
        folds = cut(protocol, catalog.patches)
        used = {patch for fold in folds for ids in fold.parts.values() for patch in ids}
        catalog = catalog.of_domains(catalog.domain[catalog.patches["id"].isin(used)])
        sizes, shape = {fold.name: fold.sizes for fold in folds}, shape_in(catalog)
        if is_decoded(catalog, plan.stores):
            bench = Bench(plan)
            listed = lambda labels, names, seeds: bench.jobs(labels, seeds, names)  # noqa: E731
            itemsize = bench.store.kind.itemsize
            return Outline(protocol.label, bench.fingerprint, sizes, shape, len(catalog), True, listed, itemsize)
    if not sizes or shape is None:
        raise SettingsError(f"the folds of {protocol.label} are known only with its data; give --data")
    # Without a store: enough to tell two jobs apart, but not the keys of a run, which depend on the decoded data.
    shared = {"protocol": protocol.label, "recipe": recipe_content(plan.recipe)}

    def skip(method: type[Method], fold: str) -> str:
        return reason_to_skip(method, plan.recipe.network, sizes[fold][2] > 0, protocol.split.few > 0, masks=True)

    def jobs(labels: Sequence[str], names: Sequence[str], seeds: Sequence[int]) -> list[Job]:
        return list_jobs(wanted_labels(labels, plan.recipe), names, seeds, partial(job_content, shared), skip)

    patches = max(sum(row) for row in sizes.values())
    return Outline(protocol.label, protocol.fingerprint, sizes, shape, patches, False, jobs)


@dataclass(frozen=True)
class Stage:
    """The jobs of a comparison, or the trials before it.

    Attributes:
        title: name of the stage.
        work: its jobs by state, each once.
        rows: the row of each job in the table, by its key.
    """

    title: str
    work: Work
    rows: Mapping[str, str]

    def counts(self) -> dict[str, tuple[str, Counter[str]]]:
        """Return of each row the label of one job, and the number of jobs by state: done, running, skipped, left."""
        states = {job.identity: (state, job.label) for state, jobs in vars(self.work).items() for job in jobs}
        by_row: dict[str, tuple[str, Counter[str]]] = {}
        for key, row in self.rows.items():
            state, label = states[key]
            by_row.setdefault(row, (label, Counter()))[1][state] += 1
        return by_row

    def skipped(self) -> dict[str, list[str]]:
        """Return the rows that cannot be run, by why."""
        why = dict.fromkeys((job.skip, self.rows[job.identity]) for job in self.work.skipped)
        return {reason: [row for other, row in why if other == reason] for reason, _ in why}


def count_jobs(
    title: str,
    jobs: Sequence[Job],
    names: Mapping[str, str],
    results: ResultsFolder | None,
    earlier: Sequence[Job] = (),
) -> Stage:
    """Return a stage: each job once, and those done that are.

    Args:
        names: rows by label, where a job's row is not called as its label.
        results: results folder; None where there is none yet.
        earlier: jobs that an earlier stage trains.
    """
    rows: dict[str, str] = {}
    for job in jobs:
        rows.setdefault(job.identity, names.get(job.label, job.label))
    return Stage(title, sort_out(jobs, results).with_done({job.identity for job in earlier}), rows)


class Timing:
    """The seconds of a run of each method, from finished runs under the same protocol with the same config.

    Runs of other numbers of steps and checkpoints count in proportion. Of several kinds of devices those runs count
    that were made on the one used last. A method without a run takes the step of source-only times its cost.

    Args:
        records: runs of the results folder.
        costs: time of a method's step over that of source-only, by the method's name.
    """

    def __init__(
        self, records: Sequence[RunRecord], outline: Outline, config: TrainingConfig, costs: Mapping[str, float]
    ) -> None:
        self._outline, self._config, self._costs = outline, config, costs
        counted = sorted(filter(self._counts, records), key=lambda record: record.ended or 0.0)
        self.device = counted[-1].tags.get("device", "an unknown device") if counted else ""
        self.records = [record for record in counted if record.tags.get("device", "an unknown device") == self.device]
        runs = defaultdict[str, list[RunRecord]](list)
        for record in self.records:
            for key in {record.facts["method"], record.facts["method"].partition("[")[0]}:
                runs[key].append(record)
        self._measured = {key: self._medians(of_key) for key, of_key in runs.items()}

    def _counts(self, record: RunRecord) -> bool:
        config, network = self._config, self._config.network
        wanted = {name: getattr(config, name) for name in ("batch_size", "crop", "precision")}
        wanted |= {"network": name_of_network(network), "encoder_depth": network.encoder_depth}
        wanted["fingerprint"] = self._outline.fingerprint
        same = all(record.facts.get(name) == str(value) for name, value in wanted.items())
        finished = record.status == "FINISHED" and record.facts.get("fold") in self._outline.sizes
        return same and finished and bool(installed_digest(record.facts["method"]))  # of a method that is still there

    def of(self, label: str) -> tuple[float, str]:
        """Return the seconds of a run, NaN where nothing is known, and where they are from.

        They are those of the label's own runs, else of the method's with other hyperparameters, else by its cost.
        """
        name, config = label.partition("[")[0], self._config
        if measured := self._measured.get(label) or self._measured.get(name):
            return measured[0] + measured[1], measured[2]
        if control_label() not in self._measured or name not in self._costs:
            return math.nan, "unknown"
        training, rest, _ = self._measured[control_label()]
        if _is_stream(label):  # an update for each batch of the test, of whole patches
            test, size = statistics.mean(row[3] for row in self._outline.sizes.values()), self._outline.shape.size
            pixels = (size / min(config.crop or size, size)) ** 2
            training *= math.ceil(test / config.batch_size) / config.steps * pixels
            rest /= config.checkpoints
        return training * self._costs[name] + rest, f"{self._costs[name]:.2f} × source-only"

    def words(self, jobs: Sequence[Job], workers: int) -> str:
        """Return what all of these jobs take with so many runs at once, as a sentence."""
        seconds = {label: self.of(label)[0] for label in dict.fromkeys(job.label for job in jobs)}
        unknown = dict.fromkeys(label.partition("[")[0] for label, length in seconds.items() if math.isnan(length))
        measured = [seconds[job.label] for job in jobs if not math.isnan(seconds[job.label])]
        if not jobs:
            return "none, since nothing is left to train"
        if not measured:
            return "unknown; a short run (--method source-only --steps 100, the other options as here) measures it"
        wall = duration(max(sum(measured) / workers, *measured, 0.0))
        without = f"; without {', '.join(unknown)}, of which no run is finished" if unknown else ""
        return f"{wall} with {workers} at once, by {len(self.records)} finished runs on {self.device}{without}"

    def _medians(self, runs: Sequence[RunRecord]) -> tuple[float, float, str]:
        """Return the seconds of training and of all else, with the config's steps and checkpoints, and of what runs."""
        trainings, rests = list[float](), list[float]()
        for run in runs:
            facts, training, config = run.facts, run.metrics["time/training_seconds"], self._config
            stream = _is_stream(facts["method"])
            trainings.append(training * (1.0 if stream else config.steps / int(facts["steps"])))
            rest = max((run.ended or run.started) - run.started - training, 0.0)
            rests.append(rest * (1.0 if stream else config.checkpoints / int(facts["checkpoints"])))
        lengths = " or ".join(f"{count:,}" for count in sorted({int(run.facts["steps"]) for run in runs}))
        words = f"{len(runs)} run{'s' * (len(runs) > 1)} of {lengths} steps"
        return statistics.median(trainings), statistics.median(rests), words


def _is_stream(label: str) -> bool:
    return parse_label(label).method.needs is Needs.TEST_STREAM


def store_bytes(outline: Outline) -> int:
    """Return the bytes of the decoded patches; the mask has one byte a pixel, and what is not decoded one a band."""
    return outline.patches * outline.shape.size**2 * (outline.shape.bands * outline.itemsize + 1)


def run_bytes(records: Sequence[RunRecord]) -> float:
    """Return the median bytes of the files of the last runs on this machine; NaN where there are none."""
    folders = [record.artifacts for record in records[-WEIGHED:] if isinstance(record.artifacts, Path)]
    sizes = [sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in folders]
    return statistics.median(filter(None, sizes)) if any(sizes) else math.nan
