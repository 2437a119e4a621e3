"""Figures are drawn from any comparison, and not where there is nothing to draw."""

from dataclasses import replace

import numpy as np
from PIL import Image

from benchmark.evaluation.comparison import Cell, Grid, compare
from benchmark.evaluation.significance import rank
from benchmark.reporting.plots import draw_classes, draw_costs, draw_ranks

GRID = Grid(("source-only", "idea"), ("north",), (0,), {"source-only": "", "idea": ""}, frozenset(), "source-only")


def cell(method, score, seconds, **classes):
    metrics = {"target/miou": score, "time/training_seconds": seconds, "selected/source_val_miou": 0.5}
    return Cell(method, "north", 0, "done", metrics=metrics | {f"target/iou/{k}": v for k, v in classes.items()})


CELLS = [cell("source-only", 0.4, 10.0, water=0.9, bare_soil=0.1), cell("idea", 0.5, 20.0, water=0.8)]


def test_classes_are_drawn_with_a_column_each(tmp_path):
    lines = compare(CELLS, GRID)
    draw_classes(lines, CELLS, {"bare_soil": 0.1, "water": 0.9}, tmp_path / "two.png")
    draw_classes(lines, CELLS, {f"class_{k}": 0.05 for k in range(19)}, tmp_path / "many.png")
    assert Image.open(tmp_path / "many.png").width > Image.open(tmp_path / "two.png").width > 500


def test_costs_are_drawn_where_they_are_known(tmp_path):
    lines = compare(CELLS, GRID)
    draw_costs(lines, tmp_path / "costs.png")
    assert Image.open(tmp_path / "costs.png").width > 500
    draw_costs([replace(line, cost=float("nan")) for line in lines], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_ranks_are_drawn(tmp_path):
    ranking = rank({name: np.arange(9.0) + shift for shift, name in enumerate("abcd")})
    draw_ranks(ranking, tmp_path / "ranks.png")
    assert Image.open(tmp_path / "ranks.png").width > 500
