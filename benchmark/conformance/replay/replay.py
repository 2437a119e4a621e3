"""The circumstances of a run and those of this machine, and the verdict on its replay, in words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.conformance.replay.differences import Finding
from benchmark.conformance.replay.recorded import Stored
from benchmark.experiments.jobs import Bench
from benchmark.experiments.labels import parse_label
from benchmark.experiments.provenance import code_version, environment
from benchmark.training.devices import device_name, make_fabric
from methods.sources import code_digest

DECIDING = ("data", "protocol")
"""Where these differ the numbers are others, and there is nothing to compare."""
UNCOMPARED = {"protocol", "data", "method", "method_digest", "fold", "seed"}
"""The facts a job depends on that have a row of their own, or were requested."""
NAMES = {"catalog": "dates and places", "parent": "source-only run"}
SHOWN = 3  # names of what differs


@dataclass(frozen=True)
class Circumstance:
    """One circumstance; `same` is None where it was not recorded."""

    what: str
    recorded: str
    here: str
    same: bool | None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As a row of the table."""
        return self.what, self.recorded, self.here, {True: "yes", False: "NO", None: "not known"}[self.same]


def circumstances(run: Stored, bench: Bench) -> list[Circumstance]:
    """Return every circumstance of a run beside the present one.

    Raises:
        MethodError: its method is not here.
    """
    facts, method = run.record.facts, parse_label(run.place[0]).method
    rows = [
        _row("code", facts["code_version"], code_version()),
        _row("method code", facts["method_digest"], code_digest(method)),
        *_environment(run.settings),
        _row("data", facts["dataset_digest"], bench.store.digest),
        _row("protocol", facts["fingerprint"], bench.fingerprint),
        _row("device", run.device, device_name(make_fabric(bench.plan.accelerator, "32-true"))),
    ]
    # Other folds are not named alike, and what depends on them cannot be computed.
    return rows if deciding(rows) else [*rows, *_rest(run, bench)]


def deciding(rows: Sequence[Circumstance]) -> list[str]:
    """Return those of the differing circumstances with which there is nothing to compare."""
    return [row.what for row in rows if row.what in DECIDING and row.same is False]


def _row(what: str, recorded: Any, current: Any) -> Circumstance:
    is_kept = recorded is not None
    return Circumstance(
        what,
        _short(recorded) if is_kept else "–",
        _short(current),
        str(recorded) == str(current) if is_kept else None,
    )


def _short(value: Any) -> str:
    """Return a digest by its first characters."""
    text = str(value)
    return f"{text[:16]}…" if len(text) >= 40 and " " not in text else text


def _environment(settings: Any) -> list[Circumstance]:
    """Return Python, the system, and the packages: all in one row where they are the same, else each that is not."""
    current = environment()
    packages: dict[str, str] = settings.get("packages", {})
    others = [_row(name, packages.get(name), now) for name, now in current["packages"].items()]
    rows = [row for row in others if row.same is False] if packages else []
    alike = [row for row in others if row.same]
    named = f"{alike[0].what} {alike[0].here} and {len(alike) - 1} more" if alike else ""
    if alike:
        rows.append(Circumstance("packages", named, "the same", True))
    if not packages:
        rows.append(Circumstance("packages", "–", f"torch {current['packages']['torch']}", None))
    return [*rows, *(_row(name, settings.get(name), current[name]) for name in ("python", "platform"))]


def _rest(run: Stored, bench: Bench) -> list[Circumstance]:
    """Return what else differs of all that a job depends on: recipe, dates, places, classes, the source-only run."""
    if (content := run.settings.get("content")) is None:
        return []
    current = json.loads(json.dumps(bench.content(*run.place)))  # with lists for tuples, as what was recorded
    names = dict.fromkeys(name for name in (*content, *current) if name not in UNCOMPARED)
    rows = [_row(NAMES.get(name, name), content.get(name), current.get(name)) for name in names]
    return [row for row in rows if not row.same]


def same(findings: Sequence[Finding]) -> bool:
    """Return whether nothing differs, and there was something to compare."""
    return any(finding.compared for finding in findings) and not any(finding.differing for finding in findings)


def verdict(findings: Sequence[Finding], rows: Sequence[Circumstance]) -> list[str]:
    """Return lines that say that all is the same to the bit, or what differs, by how much and perhaps why."""
    missing = [f"no {finding.what}" for finding in findings if not finding.compared]
    lacks = [f"the record holds {', '.join(missing)}"] if missing else []
    if same(findings):
        counts = ", ".join(f"{finding.compared} {finding.what}" for finding in findings if finding.compared)
        return [f"the same to the bit: {counts}", *lacks]
    lines = ["NOT the same:"]
    for finding in findings:
        if finding.differing:
            more = len(finding.differing) - SHOWN
            named = ", ".join(finding.differing[:SHOWN]) + (f" and {more} more" if more > 0 else "")
            largest = f"; {finding.largest}" if finding.largest else ""
            lines.append(f"- {finding.what}: {len(finding.differing)} of {finding.compared} differ: {named}{largest}")
        elif finding.compared:
            lines.append(f"- {finding.what}: all {finding.compared} are the same")
    return [*lines, *lacks, _why(rows)]


def _why(rows: Sequence[Circumstance]) -> str:
    device = next(row.here for row in rows if row.what == "device")
    other = [row.what for row in rows if row.same is False]
    unknown = [row.what for row in rows if row.same is None]
    if other:
        return f"may explain it: {', '.join(other)}, which {'is' if len(other) == 1 else 'are'} not the same"
    if device != "cpu":
        return "may explain it: on such a device sums are not always made in the same order"
    if unknown:
        return f"may explain it: {', '.join(unknown)}, of which the run holds no record"
    return "nothing that was recorded explains it: the record was changed, or the method draws by chance"
