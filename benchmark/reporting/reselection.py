"""The headline by another rule: what the runs' confusion matrices give at the checkpoints that it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan

from benchmark.common.errors import TrackingError
from benchmark.evaluation.comparison import Cell, Grid
from benchmark.evaluation.selection import select
from benchmark.experiments.checkpoint_records import LEFT_OUT, Key, class_names, matrices_at
from benchmark.experiments.confidence_record import read_confidence
from benchmark.experiments.run_folder import Files
from benchmark.training.prediction import Scores, target_metrics


def by_rule(cells: Sequence[Cell], grid: Grid, folders: Mapping[Key, Files], rule: str) -> list[Cell]:
    """Return the cells with the metrics of the checkpoint that a rule takes within each run.

    What the rule may not choose (`Grid.may_choose`) stays at the last step, and so does what it knows no score of.

    Raises:
        TrackingError: no run has a score by this rule.
    """
    chosen = [select(cell.records, rule) for cell in cells if grid.may_choose(cell.method, rule) and cell.metrics]
    if chosen and all(index is None for index in chosen):
        raise TrackingError(
            f"no run has a score by {rule}; `landshift run --{rule}` trains what it takes"
            if rule == LEFT_OUT
            else f"no run has a score by {rule}; they are of a version that did not keep any"
        )
    return [_chosen(cell, folders, rule) if grid.may_choose(cell.method, rule) else cell for cell in cells]


def _chosen(cell: Cell, folders: Mapping[Key, Files], rule: str) -> Cell:
    index = select(cell.records, rule)
    if index is None or cell.metrics is None:
        return cell
    record, folder = cell.records[index], folders[cell.method, cell.fold, cell.seed]
    if record.step == cell.metrics["selected/step"]:
        return replace(cell, rule=rule)
    matrices = matrices_at(folder, record.step)
    if not matrices:
        return cell
    kept = {name: value for name, value in cell.metrics.items() if not name.startswith(("target", "selected/"))}
    metrics = kept | target_metrics(
        Scores(matrices, nan, confidence=read_confidence(folder, record.step)), class_names(folder)
    )
    metrics |= {
        "selected/step": record.step,
        "selected/source_val_miou": record.source_val_miou,
        "selected/drop": record.source_val_miou - metrics["target/miou"],
    }
    return replace(cell, metrics=metrics, rule=rule)
