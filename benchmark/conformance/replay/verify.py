"""A published table against its protocol, the installed code, its files, its runs, and a few cells trained again."""

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.common.errors import DataError, SettingsError, TrackingError
from benchmark.common.files import read_text
from benchmark.common.texts import markdown
from benchmark.conformance.replay.recorded import Stored, accelerator_of, jobs_of, stored_run
from benchmark.data.datasets import is_here, open_catalog
from benchmark.data.series.corruptions import CORRUPTIONS, MISSING
from benchmark.experiments.checkpoint_records import read_confusions
from benchmark.experiments.confidence_record import read_confidence
from benchmark.experiments.identity import comparison_of, identity_of
from benchmark.experiments.jobs import Bench, ExperimentPlan, Job, job_content
from benchmark.experiments.labels import is_foreign
from benchmark.experiments.provenance import code_version, environment
from benchmark.experiments.request import key_of_runs
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord
from benchmark.models.packaged import PACKAGED
from benchmark.reporting.table_file import Table, TableCell
from benchmark.training.config import as_written, recipe_of
from benchmark.training.decisions import PRIOR, RANKSEG
from benchmark.training.prediction import DECISION, METRICS, Scores, decision_metrics, missing_metrics, target_metrics
from methods.base import MethodError
from methods.parts.randomness import numpy_generator
from protocols.base import ProtocolError, fingerprint
from protocols.cutting import cut
from protocols.files import load, path_of

SCORES = {"target/miou": "target_miou", "selected/source_val_miou": "source_val_miou"}
"""The metrics of a run that a record holds, and their attributes of a cell."""


@dataclass(frozen=True)
class TableCheck:
    """The result of one check of a table.

    Attributes:
        what: what was checked.
        holds: whether it holds; None where it is not known, or other than then but no contradiction.
        message: the reason, or what was compared.
    """

    what: str
    holds: bool | None
    message: str


def check_protocol(table: Table, data: Path | None, file: str = "") -> TableCheck:
    """Check whether the folds of the table are those of the protocol here: cut again, or by what is pinned.

    Args:
        data: place of the data; None for the default place.
        file: file of a user's own protocol.
    """
    what, facts = "protocol", table.facts
    file = file or facts["protocol"]
    if not path_of(file).is_file():
        return TableCheck(what, None, f"{file} is not here; give its file (--protocol)")
    try:
        protocol = load(file, partial=table.partial)
    except ProtocolError as error:
        return TableCheck(what, None, str(error))
    version = f"{protocol.name} version {protocol.version}"
    if (protocol.name, str(protocol.version)) != (facts["protocol"], facts["protocol_version"]):
        return TableCheck(what, None, f"here is {version}; the table is of version {facts['protocol_version']}")
    digest = "" if table.partial else protocol.fingerprint
    how = "as pinned in its file; data not here" if digest else "data not here, and nothing is pinned"
    if is_here(protocol.dataset, data):
        try:
            digest = fingerprint(cut(protocol, open_catalog(protocol.dataset, data).patches), partial=table.partial)
        except DataError as error:
            return TableCheck(what, None, f"data not here: {error}")
        except ProtocolError as error:
            return TableCheck(what, False, f"its folds cannot be cut from the data found: {error}")
        how = "cut again from the data found"
    if not digest or digest == facts["fingerprint"]:
        return TableCheck(what, True if digest else None, f"{version}: {how}" + (", the same folds" if digest else ""))
    return TableCheck(
        what, False, f"{version}: other folds ({digest[:12]}, the table's are {facts['fingerprint'][:12]})"
    )


def check_identities(table: Table) -> TableCheck:
    """Return how many cells are the same jobs with the installed code, and what differs of the others."""
    what = "identities"
    if not table.shared:
        return TableCheck(what, None, "the runs did not write down what they depend on")
    if comparison_of(table.shared) != key_of_runs(table.facts["comparison"]):
        return TableCheck(
            what, False, "what all cells share is not that of this comparison's key: the record was changed"
        )
    why = Counter(why_other(table, cell) for cell in table.cells)
    same = why.pop("", 0)
    others = "".join(f"; {count} not: {reason}" for reason, count in why.items())
    return TableCheck(
        what, None if why else True, f"{same} of {len(table.cells)} the same with the installed code{others}"
    )


def why_other(table: Table, cell: TableCell) -> str:
    """Return why a cell is another job with the installed code; "" if it is the same."""
    if is_foreign(cell.setting):
        return f"not known of {cell.setting.partition('[')[0]}, a module that a check never imports"
    try:
        recipe = as_written(recipe_of(table.shared["recipe"]))
        content = job_content({**table.shared, "recipe": recipe}, cell.setting, cell.fold, cell.seed)
    except (SettingsError, MethodError) as error:
        return str(error)
    if identity_of(content) == cell.identity:
        return ""
    reasons = []
    if json.dumps(recipe, sort_keys=True) != json.dumps(table.shared["recipe"], sort_keys=True):
        reasons.append("recipe")
    if content["method_digest"] != cell.method_digest:
        reasons.append(f"method code ({cell.setting.partition('[')[0]})")
    if not reasons:
        reasons.append("code of the source-only run it starts from" if "parent" in content else "hyperparameters")
    return " and ".join(reasons)


def check_engine(table: Table) -> TableCheck:
    """Return whether landshift's own code is that of the runs; it is no part of a job's key."""
    versions = Counter(cell.code_version for cell in table.cells)
    if set(versions) == {code_version()}:
        return TableCheck("engine code", True, f"the same, {code_version()}")
    cells = ", ".join(f"{count} cells of {version}" for version, count in versions.items())
    return TableCheck("engine code", None, f"{cells}; here {code_version()}")


def check_files(table: Table) -> TableCheck:
    """Check whether the numbers of ``cells.csv`` and of the first table of ``comparison.md`` are the record's."""
    wrong = [*_wrong_cells(table, read_cells(table.folder)), *_wrong_means(table)]
    if wrong:
        return TableCheck("files", False, summed(wrong))
    return TableCheck(
        "files", True, f"cells.csv and comparison.md say what the record of {len(table.cells)} cells says"
    )


def summed(wrong: Sequence[str]) -> str:
    """Return what is wrong in one line: the first of it, and how much there is."""
    return wrong[0] if len(wrong) == 1 else f"{len(wrong)} numbers differ, for example {wrong[0]}"


def read_cells(folder: Path) -> dict[tuple[str, str, int], dict[str, str]]:
    """Return the rows of ``cells.csv`` with a result, by method, fold and seed; none where there is no such file."""
    path = folder / "cells.csv"
    if not path.is_file():
        return {}
    try:
        rows = [row for row in csv.DictReader(io.StringIO(read_text(path), newline="")) if row["status"] == "done"]
        if any(row["target/miou"] is None for row in rows):
            raise ValueError("a row is cut short")
        return {(row["method"], row["fold"], int(row["seed"])): row for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: no table of cells ({type(error).__name__}: {error})") from error


def written(value: float) -> str:
    """Return a metric as ``cells.csv`` has it; "" for one that is undefined."""
    return f"{value:.6g}" if np.isfinite(value) else ""


def _wrong_cells(table: Table, rows: dict[tuple[str, str, int], dict[str, str]]) -> list[str]:
    wrong = []
    for cell in table.cells if rows else ():
        row = rows.pop((cell.method, cell.fold, cell.seed), None)
        if row is None:
            wrong.append(f"{cell.name} is missing in cells.csv")
        elif row["target/miou"] != written(cell.target_miou):
            wrong.append(f"{cell.name}: {row['target/miou']} in cells.csv, {written(cell.target_miou)} in the record")
    return [*wrong, *(f"{', '.join(map(str, key))} of cells.csv is not in the record" for key in rows)]


def _wrong_means(table: Table) -> list[str]:
    """Return of each method where its mean in ``comparison.md`` is another than that of its cells."""
    path = table.folder / "comparison.md"
    try:
        lines = read_text(path).splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no readable text ({error})") from error
    head = next((number for number, line in enumerate(lines) if line.startswith("| method | sees | target mIoU |")), -1)
    said = {}
    for line in lines[head + 2 :] if head >= 0 else ():
        if not line.startswith("| "):
            break
        method, *_, mean = [*line.strip("| ").split(" | "), "", ""][:3]
        said[re.sub(r" \((bound|\d+ of \d+ cells)\)", "", method)] = mean
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in table.cells:
        scores[cell.method][cell.fold].append(cell.target_miou)
    means = {name: f"{100 * np.mean([np.nanmean(fold) for fold in of.values()]):.1f}" for name, of in scores.items()}
    return [
        f"{method}: {said[markdown(method)]} in comparison.md, {mean} by its cells"
        for method, mean in means.items()
        if said.get(markdown(method), mean) != mean
    ]


def check_numbers(table: Table, runs: Mapping[str, Stored]) -> TableCheck:
    """Check whether the numbers of the record and of ``cells.csv`` are those of the runs.

    Args:
        runs: result of `runs_of`.
    """
    rows, wrong, checked = read_cells(table.folder), list[str](), 0
    for cell in table.cells:
        run = runs.get(cell.name)
        if run and (derived := metrics_of(run, cell.step)):
            checked += 1
            row = rows.get((cell.method, cell.fold, cell.seed), {})
            wrong += [f"{cell.name}: {fault}" for fault in _faults(cell, run, derived, row)]
    if wrong:
        return TableCheck("numbers", False, f"against the runs: {summed(wrong)}")
    if not checked:
        return TableCheck("numbers", None, "the runs are not here (--results)")
    return TableCheck(
        "numbers", True, f"{checked} of {len(table.cells)} cells are what their runs' confusion matrices give"
    )


def runs_of(table: Table, results: ResultsFolder) -> dict[str, Stored]:
    """Return those of a table's runs that a results folder holds, by the names of their cells."""
    runs = {}
    for cell in table.cells:
        for id in (cell.identity, cell.run):  # the second finds the run of a cell whose identity was changed
            with suppress(TrackingError):  # removed, or of another results folder
                runs[cell.name] = stored_run(results, id)
                break
    return runs


def metrics_of(run: Stored, step: int) -> dict[str, float]:
    """Return the metrics of a checkpoint by its confusion matrices; none where they are missing."""
    places = [f"{step}/{part}" for part in ("target_test", "source_val")]
    missing = {name: f"{step}/{MISSING}/{name}" for name in CORRUPTIONS}
    decisions = {name: f"{step}/{DECISION}/{name}" for name in (RANKSEG, PRIOR)}
    confusions = read_confusions(run.record.artifacts, *places, *missing.values(), *decisions.values())
    test, source = (confusions.get(place, {}) for place in places)
    if not test:
        return {}
    scores = Scores(test, float("nan"), confidence=read_confidence(run.record.artifacts, step))
    metrics = target_metrics(scores, run.settings["classes"]) | missing_metrics(
        {name: Scores(confusions[place], float("nan")) for name, place in missing.items() if place in confusions}
    )
    metrics |= decision_metrics(
        {name: Scores(confusions[place], float("nan")) for name, place in decisions.items() if place in confusions}
    )
    if source:
        metrics["selected/source_val_miou"] = METRICS["miou"](np.sum(list(source.values()), axis=0))
    return metrics


def _faults(cell: TableCell, run: Stored, derived: Mapping[str, float], row: Mapping[str, str]) -> list[str]:
    faults = []
    if run.record.identity != cell.identity:
        faults.append(f"the identity is {cell.identity} in the record, {run.record.identity} in the run")
    for name, attribute in SCORES.items():
        value = getattr(cell, attribute)
        if name in derived and value != derived[name]:
            faults.append(f"{name} is {value:.6g} in the record, {derived[name]:.6g} by the run")
    # What the run logged is of the checkpoint that it went by; a table may go by another rule.
    logged = run.record.metrics if run.record.metrics["selected/step"] == cell.step else {}
    return faults + [
        f"{name} is {row[name] or 'empty'} in cells.csv, {written(value)} by the run"
        for name, value in {**logged, **derived}.items()
        if name in row and row[name] != written(value)
    ]


def chosen(table: Table, count: int) -> list[TableCell]:
    """Return some cells, always the same of a count, so that those that come out well cannot be picked."""
    order = numpy_generator("rerun", table.facts["comparison"]).permutation(len(table.cells))
    return [table.cells[place] for place in order[:count].tolist()]


def jobs_of_cells(bench: Bench, cells: Sequence[TableCell]) -> dict[str, list[Job]]:
    """Return of each cell by its name its job, last, and what that starts from."""
    return {cell.name: jobs_of(bench, cell.setting, cell.fold, cell.seed) for cell in cells}


def other_data(table: Table, bench: Bench) -> str:
    """Return why the data here are not those of a table; "" if they are."""
    current = {"data": ("dataset_digest", bench.store.digest), "folds": ("fingerprint", bench.fingerprint)}
    for what, (name, digest) in current.items():
        if table.facts[name] != digest:
            return f"other {what}: {digest[:12]} here, the table's are {table.facts[name][:12]}"
    return ""


def check_rerun(
    table: Table, cells: Sequence[TableCell], jobs: Mapping[str, Sequence[Job]], runs: Mapping[str, RunRecord]
) -> TableCheck:
    """Check whether cells came out as in the record, to the last digit of both scores.

    Args:
        jobs: result of `jobs_of_cells`.
        runs: trained again, by key.
    """
    wrong = []
    for cell in cells:
        metrics = runs[jobs[cell.name][-1].identity].metrics
        for name, attribute in SCORES.items():
            if (gap := metrics[name] - getattr(cell, attribute)) != 0:
                wrong.append(f"{cell.name}: {name} is {100 * metrics[name]:.4f} here ({100 * gap:+.4f} points)")
    names = "; ".join(cell.name for cell in cells)
    if not wrong:
        return TableCheck("rerun", True, f"{len(cells)} came out the same to the last digit: {names}")
    current, then = _flat(environment()), [_flat(recorded) for recorded in table.environments]
    other = [name for name in current if current[name] not in [recorded.get(name) for recorded in then]]
    why = f"; not as then: {', '.join(other)}" if other else ""
    return TableCheck("rerun", False, f"{'; '.join(wrong)} (of {len(cells)} trained again: {names}){why}")


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    return {**settings.get("packages", {}), **{name: value for name, value in settings.items() if name != "packages"}}


def plan_of_table(table: Table, data: Path | None, results: Path, stores: Path, protocol: str = "") -> ExperimentPlan:
    """Return the plan that trains a table's cells again; for the places see `ExperimentPlan`.

    Raises:
        SettingsError: the record lacks the recipe, or names first weights only by their digest.
    """
    if not table.shared:
        raise SettingsError(f"the record in {table.folder} lacks the recipe, without which nothing is trained")
    recipe = recipe_of(table.shared["recipe"])
    weights = recipe.network.encoder_weights
    if re.fullmatch("[0-9a-f]{64}", weights):  # of a file, known by its bytes
        raise SettingsError(f"the runs of {table.folder} start from a file of weights ({weights[:12]}…); replay them")
    if weights.startswith(f"{PACKAGED}:"):
        recipe = replace(recipe, network=replace(recipe.network, encoder_weights=PACKAGED))
    device = accelerator_of(table.environments[0]["device"])
    return ExperimentPlan(protocol or table.facts["protocol"], data, results, stores, recipe, device, table.partial)
