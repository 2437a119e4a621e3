"""Taking the finished runs of another results folder into one, by their jobs' keys."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.common.errors import TrackingError
from benchmark.experiments.pixels import NAME as PIXELS
from benchmark.experiments.provenance import Provenance, differences, provenance_of
from benchmark.experiments.queue import DONE, Entry, JobRow
from benchmark.experiments.request import PREFIX, merge_requests
from benchmark.experiments.results import ABOUT, ResultsFolder
from benchmark.experiments.run_folder import RECORD, folder_of

SCORE = "target/miou"


@dataclass(frozen=True)
class Merged:
    """The runs taken over from another results folder.

    Attributes:
        added: number of runs that are new.
        same: number of runs that both folders have, with the same target mIoU.
        other: names of those that both have with another one; those of the target folder stay.
        experiments: names of the experiments with requested comparisons or runs.
        mixture: differences in the provenance of all merged runs; "" if there are none.
    """

    added: int
    same: int
    other: list[str]
    experiments: list[str]
    mixture: str


def merge(target: ResultsFolder, source: ResultsFolder) -> Merged:
    """Take the finished runs and the requested comparisons of a results folder into another one.

    A killed merge is completed by another one. Nothing of the source is changed.

    Raises:
        TrackingError: files of a run are missing in the source.
    """
    added, same, other = 0, 0, list[str]()
    experiments = source.experiments()
    provenances: dict[str, Provenance] = {}
    for experiment in experiments:
        rows = [row for row in source.queue.rows(experiment) if row.state == DONE]
        there = {row.key: row for row in target.queue.rows(keys=[row.key for row in rows])}
        for row in rows:
            present = there.get(row.key)
            name = f"{row.facts.get('method')}, {row.facts.get('fold')}, seed {row.facts.get('seed')}"
            if present is not None and present.state == DONE:
                equal = present.metrics.get(SCORE) == row.metrics.get(SCORE)
                same += equal
                other += [] if equal else [name]
                target.publications.add([row.key], experiment, {row.key: row.shown})
            elif row.key not in provenances:
                _take(target, source, row, experiment, name)
                added += 1
            provenances[row.key] = Provenance.of(row.facts, row.tags)
        _merge_documents(target, source, experiment)
    for run in (run for experiment in experiments for run in target.finished(experiment).values()):
        provenances.setdefault(run.id, provenance_of(run))
    return Merged(added, same, other, experiments, differences(provenances.values()))


def _take(target: ResultsFolder, source: ResultsFolder, row: JobRow, experiment: str, name: str) -> None:
    folder, place = folder_of(source.folder, row.key), folder_of(target.folder, row.key)
    if not (folder / RECORD).is_file():
        raise TrackingError(f"the files of the run {name} are not in {folder}, so that it cannot be merged")
    fresh = place.with_name(f".{row.key}-merging")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(folder, fresh)
    shutil.rmtree(place, ignore_errors=True)
    fresh.replace(place)
    entry = Entry(row.key, row.parent, {}, row.facts)
    target.queue.add_done(entry, row, experiment)


def _merge_documents(target: ResultsFolder, source: ResultsFolder, experiment: str) -> None:
    for name, content in source.database.documents(experiment).items():
        if name.startswith(PREFIX):
            target.database.edit(experiment, name, lambda mine, theirs=content: merge_requests(theirs, mine or theirs))  # type: ignore[misc]
        elif name == ABOUT:
            target.describe(experiment, content["description"], content["facts"])
        elif name.startswith(PIXELS):
            target.database.edit(experiment, name, lambda old, new=content: _both(old, new))  # type: ignore[misc]


def _both(old: Any, new: Mapping[str, Any]) -> dict[str, Any]:
    return {**new, **(old or {})}


def open_source(folder: Path) -> ResultsFolder:
    """Return the results of a folder that is merged into another one.

    Raises:
        TrackingError: it holds none.
    """
    from benchmark.experiments.results import has_results

    if not has_results(folder):
        raise TrackingError(f"there is no job database in {folder}")
    return ResultsFolder(folder)
