"""What is known of a protocol before it is run, with its data or without: folds, sizes, and what identities hang on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from benchmark.common.errors import SettingsError
from benchmark.data.datasets import is_here, open_catalog
from benchmark.data.shapes import Shape, shape_in, shape_of
from benchmark.data.store import is_decoded
from benchmark.experiments.jobs import Bench, Job, Plan, job_content, recipe_content
from benchmark.experiments.listing import list_jobs, reason_to_skip
from benchmark.experiments.records import SETTINGS
from benchmark.experiments.results import ResultsFolder, RunRecord
from methods.base import Method
from protocols.base import Protocol
from protocols.cutting import cut
from protocols.expected import expected_sizes
from protocols.files import load

Sizes = tuple[int, ...]
"""Patches of a fold in source_train, source_val, target_adapt and target_test."""


@dataclass(frozen=True)
class Outline:
    """A protocol as far as it is known.

    Attributes:
        label: of the protocol, which is the name of its experiment.
        folds: their sizes by name.
        few: labelled target patches that are set aside in each.
        maskless: folds of which some unlabelled image has no mask.
        shape: of a patch.
        patches: that are decoded into the store.
        decoded: whether they are there.
        shared: what all jobs depend on.
        identified: whether that is exactly what a run would take, so that finished runs are known again.
        words: where the sizes and the identities are from.
    """

    label: str
    folds: Mapping[str, Sizes]
    few: int
    maskless: frozenset[str]
    shape: Shape
    patches: int
    decoded: bool
    shared: Mapping[str, Any]
    identified: bool
    words: Sequence[str]

    def jobs(self, labels: Sequence[str], folds: Sequence[str], seeds: Sequence[int]) -> list[Job]:
        """The jobs that these labels come to, as a run lists them (`Bench.jobs`)."""

        def content(label: str, fold: str, seed: int) -> Mapping[str, Any]:
            return job_content(self.shared, label, fold, seed)

        return list_jobs(labels, folds, seeds, content, self._skip)

    def _skip(self, method: type[Method], fold: str) -> str:
        return reason_to_skip(method.needs, self.folds[fold][2] > 0, self.few > 0, fold not in self.maskless)


@dataclass(frozen=True)
class Simulated:
    """Counts that take the place of what would be known of the data; None where nothing is said."""

    folds: int | None = None
    train: int | None = None
    val: int | None = None
    adapt: int | None = None
    test: int | None = None
    few: int | None = None
    bands: int | None = None
    size: int | None = None
    classes: int | None = None
    patches: int | None = None


def read_simulated(text: str) -> Simulated:
    """From ``folds=50,train=68000,val=7500,adapt=775,test=775``.

    Raises:
        SettingsError: it holds something else.
    """
    names = [field.name for field in fields(Simulated)]
    counts = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in names or not value.isdigit():
            raise SettingsError(f"--simulate takes counts of {', '.join(names)}, as folds=50,train=68000, not {part!r}")
        counts[name] = int(value)
    return Simulated(**counts)


def outline(plan: Plan, results: ResultsFolder | None, simulated: Simulated | None = None) -> Outline:
    """What is known here of a protocol.

    Args:
        results: None where there are none yet.
        simulated: what goes before all that is known.

    Raises:
        SettingsError: neither data, nor pinned sizes, nor published counts are at hand.
    """
    protocol = load(plan.protocol, partial=plan.partial)
    if simulated is None and is_here(protocol.dataset, plan.data):
        return _of_data(plan, protocol, results)
    sizes, words = _sizes(protocol, simulated)
    shape = _shape(protocol, simulated)
    shared, identified = _earlier(plan, protocol, results) if simulated is None else (None, False)
    few = simulated.few if simulated and simulated.few is not None else protocol.split.few
    patches = simulated.patches if simulated and simulated.patches else max(sum(row) for row in sizes.values())
    return Outline(
        label=protocol.label,
        folds=sizes,
        few=few,
        maskless=frozenset(),
        shape=shape,
        patches=patches,
        decoded=False,
        shared=shared or _stand_in(plan, protocol),
        identified=identified,
        words=[f"sizes of the folds: {words}", _told(identified, results)],
    )


def _of_data(plan: Plan, protocol: Protocol, results: ResultsFolder | None) -> Outline:
    catalog = open_catalog(protocol.dataset, plan.data)
    folds = {fold.name: fold for fold in cut(protocol, catalog.patches)}
    used = {patch for fold in folds.values() for ids in fold.parts.values() for patch in ids}
    catalog = catalog.of_domains(catalog.domain[catalog.patches["id"].isin(used)])
    decoded = is_decoded(catalog, plan.stores)
    shared, identified = (Bench(plan).shared, True) if decoded else _earlier(plan, protocol, results)
    masks = catalog.patches.set_index("id")["mask"]
    return Outline(
        label=protocol.label,
        folds={name: fold.sizes for name, fold in folds.items()},
        few=max(len(fold.few) for fold in folds.values()),
        maskless=frozenset(
            name for name, fold in folds.items() if (masks.loc[list(fold.parts["target_adapt"])] == "").any()
        ),
        shape=shape_in(catalog),
        patches=len(catalog),
        decoded=decoded,
        shared=shared or _stand_in(plan, protocol),
        identified=identified,
        words=["sizes of the folds: those of the data at hand", _told(identified, results)],
    )


def _sizes(protocol: Protocol, simulated: Simulated | None) -> tuple[Mapping[str, Sizes], str]:
    if simulated and simulated.folds:
        given = (simulated.train, simulated.val, simulated.adapt, simulated.test)
        if None in given:
            raise SettingsError("--simulate folds=N needs train=, val=, adapt= and test=, the patches of a fold, too")
        return {f"fold {number + 1}": tuple(n or 0 for n in given) for number in range(simulated.folds)}, "as given"
    if protocol.sizes and not protocol.partial:
        return protocol.sizes, "as pinned in the protocol"
    if expected := expected_sizes(protocol):
        return expected, "from the counts that the protocol's table publishes, by the shares of its split"
    raise SettingsError(
        f"the folds of {protocol.label} are known only with its data; give --data, or counts as in "
        "--simulate folds=50,train=68000,val=7500,adapt=775,test=775"
    )


def _shape(protocol: Protocol, simulated: Simulated | None) -> Shape:
    known = shape_of(protocol.dataset)
    given = [getattr(simulated, field.name, None) or getattr(known, field.name, None) for field in fields(Shape)]
    if None in given:
        raise SettingsError("--simulate needs bands=, size= and classes= of the patches, too: the data set is unknown")
    return Shape(*(number or 0 for number in given))


def _earlier(plan: Plan, protocol: Protocol, results: ResultsFolder | None) -> tuple[Mapping[str, Any] | None, bool]:
    """What the jobs of an earlier run depended on, if it was of the same folds and recipe."""
    if results is None:
        return None, False
    recipe = json.loads(json.dumps(recipe_content(plan.recipe)))
    newest: dict[str, RunRecord] = {r.facts["comparison"]: r for r in results.runs(protocol.label) if r.ended}
    for record in reversed(list(newest.values())):
        file = record.artifacts / SETTINGS
        shared = json.loads(file.read_text(encoding="utf-8")).get("shared") if file.is_file() else None
        same_folds = shared and protocol.fingerprint in ("", shared["protocol"])
        if shared and same_folds and shared["recipe"] == recipe:
            return shared, True
    return None, False


def _stand_in(plan: Plan, protocol: Protocol) -> dict[str, Any]:
    """Enough to tell two jobs apart."""
    return {"protocol": protocol.fingerprint or protocol.label, "recipe": recipe_content(plan.recipe)}


def _told(identified: bool, results: ResultsFolder | None) -> str:
    if results is None:
        return "there are no results yet, so all is to be trained"
    if identified:
        return "finished runs are counted as done"
    return "no run of these folds and settings is known (or the data are not decoded), so all is to be trained"
