"""A few cells of a published table, trained again from its record alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.common.errors import SettingsError
from benchmark.conformance.replay.again import jobs_of
from benchmark.conformance.replay.checks import Check
from benchmark.conformance.replay.stored import accelerator_of
from benchmark.experiments.jobs import Bench, Job, Plan
from benchmark.experiments.provenance import environment
from benchmark.experiments.results import RunRecord
from benchmark.models.packaged import PACKAGED
from benchmark.reporting.table_file import Table, TableCell
from benchmark.training.config import recipe_of
from methods.parts.randomness import numpy_generator


@dataclass(frozen=True)
class Place:
    """Where a table's data, decoded patches and protocol lie, and where to train; "" or None as in `Plan`."""

    data: Path | None
    stores: Path
    results: Path
    protocol: str = ""


def chosen(table: Table, count: int) -> list[TableCell]:
    """Some cells, the same whenever the same number is asked for: nobody picks those that come out well."""
    order = numpy_generator("rerun", table.facts["comparison"]).permutation(len(table.cells))
    return [table.cells[place] for place in order[:count].tolist()]


def jobs_of_cells(bench: Bench, cells: Sequence[TableCell]) -> dict[str, list[Job]]:
    """Of each cell by its name, its job, last, and what that starts from."""
    return {cell.name: jobs_of(bench, cell.setting, cell.fold, cell.seed) for cell in cells}


def other_data(table: Table, bench: Bench) -> str:
    """Why the data at hand are not those of a table; "" if they are."""
    for what, name, found in (
        ("data", "dataset_digest", bench.store.digest),
        ("folds", "fingerprint", bench.fingerprint),
    ):
        if table.facts[name] != found:
            return f"other {what}: {found[:12]} here, the table's are {table.facts[name][:12]}"
    return ""


def check_rerun(
    table: Table, cells: Sequence[TableCell], jobs: Mapping[str, Sequence[Job]], runs: Mapping[str, RunRecord]
) -> Check:
    """Whether cells came out as in the record, to the last digit of both scores.

    Args:
        jobs: of `jobs_of_cells`.
        runs: trained again, by key.
    """
    wrong = []
    for cell in cells:
        metrics = runs[jobs[cell.name][-1].identity].metrics
        for name, was in (("target/miou", cell.target_miou), ("selected/source_val_miou", cell.source_val_miou)):
            if metrics[name] != was:
                points = f"{100 * (metrics[name] - was):+.4f} points"
                wrong.append(f"{cell.name}: {name} is {100 * metrics[name]:.4f} here ({points})")
    names = "; ".join(cell.name for cell in cells)
    if wrong:
        other = other_environment(table)
        why = f"; not as then: {', '.join(other)}" if other else ""
        return Check("rerun", False, f"{'; '.join(wrong)} (of {len(cells)} trained again: {names}){why}")
    return Check("rerun", True, f"{len(cells)} came out the same to the last digit: {names}")


def other_environment(table: Table) -> list[str]:
    """Names of the packages and of the rest of the environment that no run of a table had as they are here."""
    here, then = _flat(environment()), [_flat(found) for found in table.environments]
    return [name for name in here if here[name] not in [found.get(name) for found in then]]


def _flat(found: Mapping[str, Any]) -> dict[str, str]:
    return {**found.get("packages", {}), **{name: value for name, value in found.items() if name != "packages"}}


def plan_of_table(table: Table, place: Place) -> Plan:
    """The plan that trains a table's cells again.

    Raises:
        SettingsError: the record lacks the recipe, or names first weights only by their digest.
    """
    if not table.shared:
        raise SettingsError(f"the record in {table.folder} lacks the recipe, without which nothing is trained")
    recipe = recipe_of(table.shared["recipe"])
    weights = recipe.network.encoder_weights
    if len(weights) == 64 and set(weights) <= set("0123456789abcdef"):  # of a file, known by its bytes
        raise SettingsError(f"the runs of {table.folder} start from a file of weights ({weights[:12]}…); replay them")
    if weights.startswith(f"{PACKAGED}:"):
        recipe = replace(recipe, network=replace(recipe.network, encoder_weights=PACKAGED))
    return Plan(
        protocol=place.protocol or table.facts["protocol"],
        data=place.data,
        results=place.results,
        stores=place.stores,
        recipe=recipe,
        accelerator=accelerator_of(table.environments[0]["device"]),
        partial=table.partial,
    )
