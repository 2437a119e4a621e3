"""Comparisons that differ only in whether networks see the image, the series or both, side by side."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.evaluation.comparison import Cell, Grid, Line, compare, table
from benchmark.evaluation.statistics import spread
from benchmark.models.settings import ALONE, SERIES
from benchmark.training.config import without_series

IMAGE = "image alone"
SHARED = ("fingerprint", "dataset_digest", "class_set", "tuned")  # facts, beside the recipe


@dataclass(frozen=True)
class Modalities:
    """The same folds and seeds with networks that see the image, the series or both.

    Attributes:
        control: label of the method that gains are over.
        folds, seeds: axes that all modalities have.
        lines: lines by modality and by method.
        over_images: mean gain of the control in each other modality over itself on images alone; NaN where that is not
            known.
        cells: cells of each modality on these folds and seeds.
        left_out: why other modalities are not among these, by their names.
    """

    control: str
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    lines: Mapping[str, Mapping[str, Line]]
    over_images: Mapping[str, float]
    cells: Mapping[str, Sequence[Cell]]
    left_out: Mapping[str, str]

    @property
    def methods(self) -> list[str]:
        """All methods: the control, then from the best down, and bounds last."""
        keys: dict[str, tuple[bool, bool, float]] = {}
        for line in (line for lines in self.lines.values() for line in lines.values()):
            key = line.bound, line.method != self.control, -line.target.mean if line.target.cells else math.inf
            keys[line.method] = min(key, keys.get(line.method, key))
        return sorted(keys, key=lambda method: keys[method])


def siblings(facts: Mapping[str, Mapping[str, str]], comparison: str) -> dict[str, str]:
    """Return the comparisons that differ from one in series settings alone, by the name of what their networks see.

    It is among them. Of several with the same settings it is taken, else the last.

    Args:
        facts: facts of all comparisons of an experiment, by key, in the order in which they were requested.
    """
    recipes = alike(facts, comparison, without_series)
    settings = {key: {**recipe, **recipe["network"]} for key, recipe in recipes.items()}
    seen = [each for each in settings.values() if each.get("series")]
    names = sorted({name for each in seen for name in each if name not in ("network", "series")})
    varied = [name for name in names if len({json.dumps(each.get(name)) for each in seen}) > 1]
    order = sorted(settings, key=lambda key: (SERIES.index(settings[key].get("series", "")), key == comparison))
    return {_name(settings[key], varied): key for key in order}


def alike(
    facts: Mapping[str, Mapping[str, str]], comparison: str, without: Callable[[Mapping[str, Any]], Any]
) -> dict[str, dict[str, Any]]:
    """Return the recipes of the comparisons that differ from one in some settings alone, by key; it is among them.

    Args:
        without: returns a recipe without these settings.
    """
    own = _shared(facts[comparison], without)
    return {key: json.loads(of["recipe"]) for key, of in facts.items() if own and _shared(of, without) == own}


def _shared(facts: Mapping[str, str], without: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Return what siblings have in common; None of a comparison that has no recipe written down."""
    recipe = json.loads(facts.get("recipe", "{}"))
    return ([facts.get(name) for name in SHARED], without(recipe)) if "network" in recipe else None


def _name(settings: Mapping[str, Any], varied: Sequence[str]) -> str:
    series = settings.get("series", "")
    if not series:
        return IMAGE
    words = [*[series] * (series != ALONE), *(f"{name.replace('_', ' ')} {settings.get(name)}" for name in varied)]
    return ("series alone" if series == ALONE else "image + series") + (f" ({', '.join(words)})" if words else "")


def compare_modalities(
    grid: Grid, seen: Mapping[str, tuple[Grid, Sequence[Cell]]], left_out: Mapping[str, str]
) -> Modalities | None:
    """Return the modalities on the folds and seeds that all of them have; None where there is a single one.

    Args:
        grid: grid of the comparison that is reported.
        seen: grid and cells of each modality that has results, by its name; this comparison's among them.
        left_out: why other modalities are left out.
    """
    if len(seen) + len(left_out) < 2:
        return None
    reasons, grids, folds, seeds = dict(left_out), dict[str, Grid](), grid.folds, grid.seeds
    for name, (other, _) in seen.items():
        both = (
            tuple(fold for fold in folds if fold in other.folds),
            tuple(seed for seed in seeds if seed in other.seeds),
        )
        if all(both):
            (folds, seeds), grids[name] = both, other
        else:
            reasons[name] = "it has no fold or no seed in common with the others"
    grids = {name: replace(other, folds=folds, seeds=seeds) for name, other in grids.items()}
    cells = {name: [one for one in seen[name][1] if one.fold in folds and one.seed in seeds] for name in grids}
    control = {name: table(cells[name], other, grid.control, "target/miou") for name, other in grids.items()}
    images = control.pop(IMAGE, math.nan)
    return Modalities(
        grid.control,
        folds,
        seeds,
        {name: {line.method: line for line in compare(cells[name], other)} for name, other in grids.items()},
        {name: spread(scores - images).mean for name, scores in control.items()},
        cells,
        reasons,
    )
