"""What can be said of a published table: by the protocol, by the code at hand, and by its own files."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmark.common.errors import DataError, SettingsError
from benchmark.common.files import read_text
from benchmark.common.texts import markdown
from benchmark.data.datasets import is_here, open_catalog
from benchmark.experiments.identity import comparison_of, identity_of
from benchmark.experiments.jobs import job_content
from benchmark.experiments.labels import is_foreign
from benchmark.experiments.provenance import code_version
from benchmark.experiments.request import key_of_runs
from benchmark.reporting.table_file import Table, TableCell
from benchmark.training.config import recipe_of
from methods.base import MethodError
from protocols.base import ProtocolError, fingerprint
from protocols.cutting import cut
from protocols.files import load, path_of


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `holds` is None where it is not known, or other than then but no contradiction."""

    what: str
    holds: bool | None
    told: str


def check_protocol(table: Table, data: Path | None, asked: str = "") -> Check:
    """Whether the folds of the table are those of the protocol at hand: cut again, or by what is pinned.

    Args:
        data: where they lie; None for their default place.
        asked: the file of a protocol of one's own.
    """
    what, facts = "protocol", table.facts
    if not path_of(asked or facts["protocol"]).is_file():
        return Check(what, None, f"{asked or facts['protocol']} is not here; give its file (--protocol)")
    try:
        protocol = load(asked or facts["protocol"], partial=table.partial)
    except ProtocolError as error:
        return Check(what, None, str(error))
    version = f"{protocol.name} version {protocol.version}"
    if (protocol.name, str(protocol.version)) != (facts["protocol"], facts["protocol_version"]):
        return Check(what, None, f"here is {version}; the table is of version {facts['protocol_version']}")
    found = "" if table.partial else protocol.fingerprint
    how = "as pinned in its file; data not here" if found else "data not here, and nothing is pinned"
    if is_here(protocol.dataset, data):
        try:
            found = fingerprint(cut(protocol, open_catalog(protocol.dataset, data).patches), partial=table.partial)
        except DataError as error:
            return Check(what, None, f"data not here: {error}")
        except ProtocolError as error:
            return Check(what, False, f"its folds cannot be cut from the data at hand: {error}")
        how = "cut again from the data at hand"
    if not found or found == facts["fingerprint"]:
        return Check(what, True if found else None, f"{version}: {how}" + (", the same folds" if found else ""))
    return Check(what, False, f"{version}: other folds ({found[:12]}, the table's are {facts['fingerprint'][:12]})")


def check_identities(table: Table) -> Check:
    """How many cells would be the same jobs with the code at hand, and what is other of the rest."""
    what = "identities"
    if not table.shared:
        return Check(what, None, "the runs did not write down what they depend on")
    if comparison_of(table.shared) != key_of_runs(table.facts["comparison"]):
        return Check(what, False, "what all cells share is not that of this comparison's key: the record was changed")
    why = Counter(why_other(table, cell) for cell in table.cells)
    same = why.pop("", 0)
    others = "".join(f"; {count} not: {reason}" for reason, count in why.items())
    return Check(what, None if why else True, f"{same} of {len(table.cells)} the same with the code at hand{others}")


def why_other(table: Table, cell: TableCell) -> str:
    """Why a cell is another job with the code at hand; "" if it is not."""
    if is_foreign(cell.setting):
        return f"not known of {cell.setting.partition('[')[0]}, a module that a check never imports"
    try:
        recipe = asdict(recipe_of(table.shared["recipe"]))
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


def check_engine(table: Table) -> Check:
    """Whether landshift's own code is that of the runs; what it may change no identity tells."""
    versions = Counter(cell.code_version for cell in table.cells)
    if set(versions) == {code_version()}:
        return Check("engine code", True, f"the same, {code_version()}")
    told = ", ".join(f"{count} cells of {version}" for version, count in versions.items())
    return Check("engine code", None, f"{told}; here {code_version()}")


def check_files(table: Table) -> Check:
    """Whether the numbers in ``cells.csv`` and in the first table of ``comparison.md`` are those of the record."""
    wrong = [*_wrong_cells(table, read_cells(table.folder)), *_wrong_means(table)]
    if wrong:
        return Check("files", False, summed(wrong))
    return Check("files", True, f"cells.csv and comparison.md say what the record of {len(table.cells)} cells says")


def summed(wrong: Sequence[str]) -> str:
    """What is wrong in one line: the first of it, and how much there is."""
    return wrong[0] if len(wrong) == 1 else f"{len(wrong)} numbers differ, for example {wrong[0]}"


def read_cells(folder: Path) -> dict[tuple[str, str, int], dict[str, str]]:
    """The rows of ``cells.csv`` that have a result, by method, fold and seed; none where there is no such file."""
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
    """A metric as ``cells.csv`` has it; "" for one that is undefined."""
    return f"{value:.6g}" if np.isfinite(value) else ""


def readable(path: Path) -> str:
    """The text of a published file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no readable text ({error})") from error


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
    """Of each method, where its mean in ``comparison.md`` is another than that of its cells."""
    path = table.folder / "comparison.md"
    lines = readable(path).splitlines() if path.is_file() else []
    head = next((number for number, line in enumerate(lines) if line.startswith("| method | sees | target mIoU |")), -1)
    said = {}
    for line in lines[head + 2 :] if head >= 0 else ():
        if not line.startswith("| "):
            break
        method, *_, mean = [*line.strip("| ").split(" | "), "", ""][:3]
        said[re.sub(r" \((bound|\d+ of \d+ cells)\)", "", method)] = mean
    found = {
        method: f"{100 * target_mean(table, method):.1f}" for method in dict.fromkeys(c.method for c in table.cells)
    }
    return [
        f"{method}: {said[markdown(method)]} in comparison.md, {mean} by its cells"
        for method, mean in found.items()
        if said.get(markdown(method), mean) != mean
    ]


def target_mean(table: Table, method: str) -> float:
    """Mean over folds of the mean over seeds."""
    cells = [cell for cell in table.cells if cell.method == method]
    folds, seeds = sorted({cell.fold for cell in cells}), sorted({cell.seed for cell in cells})
    values = np.full((len(folds), len(seeds)), np.nan)
    for cell in cells:
        values[folds.index(cell.fold), seeds.index(cell.seed)] = cell.target_miou
    return float(np.nanmean(values, axis=1).mean())
