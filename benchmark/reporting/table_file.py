"""``comparison.json``: which runs a published table is of, so that it can be checked without them, or against them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmark.common.errors import DataError
from benchmark.common.files import read_json
from benchmark.experiments.checkpoint_records import SETTINGS
from benchmark.reporting.collect import ComparisonState
from benchmark.reporting.confidence_table import confidence_record
from benchmark.reporting.decision_table import decision_record
from benchmark.reporting.series_tables import series_record
from benchmark.reporting.stream_orders import order_record
from protocols.base import PARTIAL

TABLE = "comparison.json"
FILES = (TABLE, "comparison.md")  # by which a report is known
FACTS = ("protocol", "protocol_version", "fingerprint", "dataset", "dataset_digest", "comparison")
ENVIRONMENT = ("packages", "python", "platform")


@dataclass(frozen=True)
class TableCell:
    """A cell with a result.

    Attributes:
        method, fold, seed: place of the cell.
        setting: the label of what was trained: the method's, unless its row has another one on each fold.
        run: id of its run in MLflow; "" where it was not published.
        identity: its job's key, the digest of all that its result depends on.
        method_digest, code_version: versions of the code it was run by: the method's, and landshift's.
        step: step of the chosen checkpoint.
        source_val_miou, target_miou: shares, at that checkpoint.
    """

    method: str
    fold: str
    seed: int
    setting: str
    run: str
    identity: str
    method_digest: str
    code_version: str
    step: int
    source_val_miou: float
    target_miou: float

    @property
    def name(self) -> str:
        """Method, fold and seed, as messages name the cell."""
        return f"{self.method}, {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Table:
    """A published comparison.

    Attributes:
        folder: its folder.
        facts: what all cells share, by the names in `FACTS`.
        shared: what all their jobs depend on (`Bench.shared`); empty where the runs did not write it down.
        environments: packages, Python, system and device of the runs, each that occurs.
        cells: cells with a result.
    """

    folder: Path
    facts: Mapping[str, str]
    shared: Mapping[str, Any]
    environments: Sequence[Mapping[str, Any]]
    cells: Sequence[TableCell]

    @property
    def partial(self) -> bool:
        """The comparison is of a part of the protocol's data."""
        return self.facts["fingerprint"].startswith(PARTIAL)


def as_json(state: ComparisonState) -> str:
    """Return the record of a comparison: a line a cell, so that two of them can be compared by eye."""
    shared: dict[str, Any] = {}
    environments: list[dict[str, Any]] = []
    cells = []
    for cell in state.cells:
        run = state.runs.get((cell.method, cell.fold, cell.seed))
        if cell.metrics is None or run is None:
            continue
        path = run.artifacts / SETTINGS
        settings = read_json(path) if path.is_file() else {}
        # All runs of a comparison share this; one that lacks it was made before it was written down.
        shared = shared or settings.get("shared", {})
        machine = {key: settings[key] for key in ENVIRONMENT if key in settings} | {
            "device": run.tags.get("device", "")
        }
        environments += [machine] if machine not in environments else []
        entry = TableCell(
            cell.method,
            cell.fold,
            cell.seed,
            run.facts["method"],
            run.run,
            run.identity,
            run.facts["method_digest"],
            run.facts["code_version"],
            int(cell.metrics["selected/step"]),
            cell.metrics.get("selected/source_val_miou", float("nan")),
            cell.metrics.get("target/miou", float("nan")),
        )
        cells.append(asdict(entry))
    facts = {name: state.facts[name] for name in FACTS}
    more = confidence_record(state) | decision_record(state) | series_record(state) | order_record(state)
    head = json.dumps(facts | {"shared": shared, "environments": environments} | more, indent=1)
    lines = ",\n".join(f"  {json.dumps(cell)}" for cell in cells)
    return f'{head.removesuffix("}").rstrip()},\n "cells": [\n{lines}\n ]\n}}\n'


def read_table(folder: Path) -> Table:
    """Return the record of a published comparison.

    Raises:
        DataError: the file is not one of these records; the message names what it lacks.
    """
    path = folder / TABLE
    try:
        content = read_json(path)
        return Table(
            folder,
            {name: str(content[name]) for name in FACTS},
            _of_kind(dict, content["shared"]),
            [_of_kind(dict, environment) for environment in _of_kind(list, content["environments"])],
            [_cell(cell) for cell in content["cells"]],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no record of a comparison: {type(error).__name__}: {error}") from error


def has_table(folder: Path) -> bool:
    """Return whether a folder holds a report with a result; one without a record of its cells counts as such."""
    if not any((folder / name).exists() for name in FILES):
        return False
    try:
        return bool(read_table(folder).cells)
    except DataError:
        return True


def _cell(values: Mapping[str, Any]) -> TableCell:
    """Return a cell; a TypeError is raised where a value is of another kind than its field."""
    kinds = {item.name: (int, float) if item.type is float else item.type for item in fields(TableCell)}
    return TableCell(**{name: _of_kind(kind, values[name]) for name, kind in kinds.items()})


def _of_kind(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:60]!r} is of another kind than expected")
    return value


def table_folders(folder: Path) -> list[Path]:
    """Return the folders at or below a folder that hold a published comparison, with a record of it or without."""
    return sorted({path.parent for name in FILES for path in folder.rglob(name)})
