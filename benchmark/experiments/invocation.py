"""The commands that make a comparison in an empty results folder."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.evaluation.comparison import Grid

if TYPE_CHECKING:
    from benchmark.experiments.jobs import ExperimentPlan  # needs torch, which a report can do without

Block = tuple[Collection[str], Collection[str], Collection[int]]
"""Rows, folds and seeds of one call."""


def shared_arguments(plan: "ExperimentPlan") -> str:
    """Return the arguments of all commands of a comparison: protocol, data, recipe; "" if no options give the recipe.

    Where results and stores are, and on which device and in how many processes is trained, is left to the reader.
    """
    from benchmark.training.config import preset_and_changes

    difference = preset_and_changes(plan.recipe)
    if difference is None:
        return ""
    preset, changes = difference
    options: dict[str, Any] = {"data": plan.data} if plan.data else {}
    options |= {"preset": preset} | changes
    if options.get("encoder_weights") == "":
        options["encoder_weights"] = "none"
    words = [plan.protocol, *["--partial"] * plan.partial]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value)]
    return shlex.join(words)


def tuning_arguments(tuning: Any, methods: Sequence[str]) -> str:
    """Return the further arguments of ``landshift tune``.

    Args:
        tuning: a `benchmark.tuning.plan.Tuning`.
        methods: labels of those that are tuned.
    """
    words = [*_methods(methods), "--trials", str(tuning.trials), "--rule", tuning.rule, "--seed", str(tuning.seed)]
    words += [*(["--fold", tuning.fold] if tuning.fold else ()), *["--prune"] * tuning.prune]
    return shlex.join(words)


def commands_of(
    call: Mapping[str, str],
    grid: Grid,
    tuned: Collection[str],
    all_folds: int,
    blocks: Sequence[Block],
    nested: Sequence[Block],
) -> list[str]:
    """Return the commands, in their order; none where they are not known.

    Args:
        call: ``shared``, of `shared_arguments`; where rows are tuned also ``tuned``, the tuning's key, and ``search``,
            of `tuning_arguments`.
        grid: grid of the comparison.
        tuned: rows whose settings were tuned.
        all_folds: number of the protocol's folds.
        blocks: blocks that calls requested; none for the whole grid.
        nested: rows with trainings inside the folds, too.
    """
    shared, tuned = call.get("shared", ""), frozenset(tuned)
    if not shared or (tuned and not call.get("search")):
        return []

    def command(block: Block, *more: str) -> str:
        rows, folds, seeds = block
        words = _methods([row for row in grid.methods if row in rows and row not in tuned])
        words += ["--tuned", call["tuned"]] if tuned.intersection(rows) else []
        words += ["--folds", ",".join(fold for fold in grid.folds if fold in folds)] if len(folds) < all_folds else []
        words += ["--seeds", ",".join(map(str, sorted(seeds))), *more]
        return f"landshift run {shared} {shlex.join(words)}"

    whole = merged(blocks, grid)
    inner = merged(nested, grid) if nested else []
    return [
        *([f"landshift tune {shared} {call['search']}"] if tuned else ()),
        *(command(block) for block in whole if not any(is_within(block, other) for other in inner)),
        *(command(block, "--leave-one-source-domain-out") for block in inner),
    ]


def merged(blocks: Sequence[Block], grid: Grid) -> list[Block]:
    """Return the blocks as one, where they are all rows, folds and seeds of one with all between; else as they are."""
    rows = {row for block in blocks for row in block[0]} or set(grid.methods)
    folds = {fold for block in blocks for fold in block[1]} or set(grid.folds)
    seeds = {seed for block in blocks for seed in block[2]} or set(grid.seeds)
    covered = {(row, fold, seed) for block in blocks for row in block[0] for fold in block[1] for seed in block[2]}
    return [(rows, folds, seeds)] if len(covered) in (0, len(rows) * len(folds) * len(seeds)) else list(blocks)


def is_within(block: Sequence[Collection[Any]], other: Sequence[Collection[Any]]) -> bool:
    """Return whether one block contains all of another one."""
    return all(set(part) <= set(theirs) for part, theirs in zip(block, other, strict=True))


def _methods(labels: Sequence[str]) -> list[str]:
    return [word for label in labels for word in ("--method", label)]
