"""What a run was trained with, and what is here now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.conformance.replay.stored import Stored
from benchmark.experiments.jobs import Bench
from benchmark.experiments.labels import parse_label
from benchmark.experiments.provenance import code_version, environment
from benchmark.training.devices import device_name, make_fabric
from methods.sources import code_digest

DECIDING = ("data", "protocol")
"""Where these differ the numbers are others, and there is nothing to compare."""
TOLD = {"protocol", "data", "method", "method_digest", "fold", "seed"}
"""Of what a job depends on, that which has a row of its own, or is what was asked for."""


@dataclass(frozen=True)
class Row:
    """One circumstance; `same` is None where it was not recorded."""

    what: str
    recorded: str
    here: str
    same: bool | None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As a row of the table."""
        return self.what, self.recorded, self.here, {True: "yes", False: "NO", None: "not known"}[self.same]


def circumstances(run: Stored, bench: Bench) -> list[Row]:
    """Every circumstance of a run beside the one at hand.

    Raises:
        MethodError: its method is not here.
    """
    facts, method = run.record.facts, parse_label(run.label).method
    rows = [
        _row("code", facts["code_version"], code_version()),
        _row("method code", facts["method_digest"], code_digest(method)),
        *_environment(run.settings),
        _row("data", facts["dataset_digest"], bench.store.digest),
        _row("protocol", facts["fingerprint"], bench.fingerprint),
        _row("device", run.device, device_name(make_fabric(bench.plan.accelerator, "32-true"))),
    ]
    # Other folds are not named alike, and what depends on them cannot be asked for.
    return rows if deciding(rows) else [*rows, *_rest(run, bench)]


def deciding(rows: Sequence[Row]) -> list[str]:
    """Those of the differing circumstances with which there is nothing to compare."""
    return [row.what for row in rows if row.what in DECIDING and row.same is False]


def _row(what: str, recorded: Any, here: Any) -> Row:
    known = recorded is not None
    return Row(what, _short(recorded) if known else "–", _short(here), str(recorded) == str(here) if known else None)


def _short(value: Any) -> str:
    """A digest by its first characters."""
    text = str(value)
    return f"{text[:16]}…" if len(text) >= 40 and " " not in text else text


def _environment(settings: Any) -> list[Row]:
    """Python, the system, and the packages: all in one row where they are the same, else one row each that is not."""
    here = environment()
    packages: dict[str, str] = settings.get("packages", {})
    others = [_row(name, packages.get(name), now) for name, now in here["packages"].items()]
    rows = [row for row in others if row.same is False] if packages else []
    alike = [row for row in others if row.same]
    named = f"{alike[0].what} {alike[0].here} and {len(alike) - 1} more" if alike else ""
    if alike:
        rows.append(Row("packages", named, "the same", True))
    if not packages:
        rows.append(Row("packages", "–", f"torch {here['packages']['torch']}", None))
    return [*rows, *(_row(name, settings.get(name), here[name]) for name in ("python", "platform"))]


def _rest(run: Stored, bench: Bench) -> list[Row]:
    """What else a job depends on and is not the same: recipe, dates and places, classes, the source-only run …"""
    content = run.settings.get("content")
    here = bench.content(run.label, run.fold, run.seed)
    if content is None:
        return []
    # What was read from JSON has lists for tuples, so that texts are compared.
    names = dict.fromkeys(name for name in (*content, *here) if name not in TOLD)
    rows = [_row(NAMES.get(name, name), _plain(content.get(name)), _plain(here.get(name))) for name in names]
    return [row for row in rows if not row.same]


NAMES = {"catalog": "dates and places", "parent": "source-only run"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
