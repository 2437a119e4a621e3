"""The comparison as text: order, marks, and cells that say why they are empty."""

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmark.cli import printed
from benchmark.cli.printed import print_comparison
from benchmark.common import console as terminal
from benchmark.common.console import print_line
from benchmark.evaluation.comparison import Cell, Grid, compare, rarer_half
from benchmark.evaluation.selection_rules import RuleLine
from benchmark.evaluation.shares import ShareErrors, compare_shares
from benchmark.evaluation.statistics import spread
from benchmark.reporting.plots import draw
from benchmark.reporting.tables import (
    HEADER,
    cells_csv,
    empty_cells,
    fold_table,
    markdown_page,
    markdown_table,
    rows,
    rule_rows,
    rule_table,
    rules_line,
    shared_line,
)

GRID = Grid(
    methods=("source-only", "idea[weight=2]", "oracle", "blind"),
    folds=("north", "south"),
    seeds=(0, 1),
    needs={
        "source-only": "source labels",
        "idea[weight=2]": "target images",
        "oracle": "all",
        "blind": "target images",
    },
    bounds=frozenset({"oracle"}),
    control="source-only",
)
VALUES = {"source-only": 0.4, "idea[weight=2]": 0.5, "oracle": 0.6}
SECONDS = {"north": 100.0, "south": 10.0}


@pytest.fixture
def cells():
    done = [
        Cell(
            method,
            fold,
            seed,
            "done",
            metrics={
                "target/miou": value + 0.01 * seed,
                "selected/source_val_miou": 0.7,
                "time/training_seconds": SECONDS[fold] * (1 + (method != "source-only")),
            },
        )
        for method, value in VALUES.items()
        for fold in GRID.folds
        for seed in GRID.seeds
        if (method, fold, seed) != ("idea[weight=2]", "south", 1)
    ]
    failed = Cell("idea[weight=2]", "south", 1, "failed", "the loss is nan")
    return [*done, failed, *(Cell("blind", f, s, "skipped", "no images") for f in GRID.folds for s in GRID.seeds)]


def test_methods_are_sorted_with_those_that_lack_cells_behind_and_bounds_last(cells):
    """A mean over three cells may be above one over four, and yet each of the three below."""
    table = rows(compare(cells, GRID))
    names = [row[0] for row in table]
    assert names == ["source-only", "idea[weight=2] (3 of 4 cells)", "blind", "oracle (bound)"]
    by_name = {row[0]: row for row in table}
    assert by_name["source-only"][2] == "40.5" and by_name["oracle (bound)"][2] == "60.5"
    idea = by_name["idea[weight=2] (3 of 4 cells)"]
    assert idea[7] == "+10.0" and idea[8] == "0.50 [0.50, 0.50]"
    assert by_name["source-only"][8] == by_name["oracle (bound)"][8] == "–"
    assert by_name["blind"][2:] == ("–",) * (len(HEADER) - 2)


def test_a_cost_is_that_over_source_only_in_the_same_cell(cells):
    by_name = {row[0]: row[HEADER.index("device-seconds")] for row in rows(compare(cells, GRID))}
    assert by_name["source-only"] == "55 (1.0 ×)"
    assert by_name["idea[weight=2] (3 of 4 cells)"] == "200 (2.0 ×)", "of 200, 200 and 20 seconds"


def test_images_are_those_of_a_training(cells):
    rated = [replace(cell, metrics=cell.metrics | {"time/images_per_second": 32.0}) for cell in cells if cell.metrics]
    by_name = {row[0]: row[HEADER.index("images")] for row in rows(compare(rated, GRID))}
    assert by_name["source-only"] == "1,760" and by_name["idea[weight=2]"] == "6,400"


def test_the_rare_classes_are_the_rarer_half_of_those_that_occur(cells):
    """Of water, road and land only road is rarer; field is not there, and must not count."""
    north = rarer_half({"land": 900, "water": 90, "road": 10, "field": 0})
    assert north == ["road"] and rarer_half({"land": 900}) == []
    found = [
        replace(cell, metrics=cell.metrics | {"target/iou/road": 0.1 + 0.2 * cell.seed, "target/iou/land": 0.6})
        for cell in cells
        if cell.metrics
    ]
    lines = {line.method: line for line in compare(found, GRID, {"north": north, "south": ["road", "land"]})}
    assert lines["source-only"].rare == pytest.approx((0.2 + (0.2 + 0.6) / 2) / 2), "mean over classes, seeds and folds"
    assert math.isnan(lines["blind"].rare) and math.isnan(compare(found, GRID)[0].rare)
    assert rows([lines["source-only"]])[0][HEADER.index("rare")] == "30.0"


def test_a_rule_is_told_by_its_methods_in_the_terminal_and_by_a_column_elsewhere(cells):
    rules = {"source-only": "source-validation", "idea[weight=2]": "source-validation", "oracle": "last-step"}
    lines = compare([replace(cell, rule=rules.get(cell.method, "")) for cell in cells], GRID)
    assert {row[0]: row[-1] for row in rows(lines)} == {
        "idea[weight=2] (3 of 4 cells)": "source-validation",
        "source-only": "source-validation",
        "oracle (bound)": "last-step",
        "blind": "–",
    }
    assert rules_line(lines) == "checkpoints by source-validation; last-step of oracle" and rules_line(lines[3:]) == ""


def test_a_single_cell_has_no_interval(cells):
    lone = Grid(("source-only",), ("north",), (0,), GRID.needs, frozenset(), "source-only")
    (row,) = rows(compare(cells[:1], lone))
    assert row[2:4] == ("40.0", "–")


def test_empty_cells_speak(cells):
    text = empty_cells(cells)
    assert "- idea[weight=2]: 1 × failed: the loss is nan" in text
    assert "- blind: 4 × skipped: no images" in text


def test_markdown_has_a_row_a_method_and_a_column_a_fold(cells):
    assert markdown_table(compare(cells, GRID)).count("\n") == 1 + len(GRID.methods)
    assert fold_table(cells, GRID).splitlines()[2] == "| source-only | 40.5 | 40.5 |"


def test_csv_holds_every_cell(cells):
    table = list(csv.DictReader(io.StringIO(cells_csv(cells))))
    assert len(table) == len(cells)
    assert float(table[0]["target/miou"]) == pytest.approx(0.4) and table[-1]["reason"] == "no images"


def test_the_figure_is_drawn(cells, tmp_path):
    draw(compare(cells, GRID), cells, GRID, "Places", tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").width > 800


FACTS = {
    "network": "unet resnet34", "steps": "100", "batch_size": "8", "crop": "32", "turn": "False", "dataset": "world",
    "dataset_digest": "d" * 64, "fingerprint": "f" * 64, "comparison": "abc", "code_version": "1",
}  # fmt: skip


def test_the_footer_tells_the_training_and_the_folds_that_were_left_out():
    whole = shared_line(FACTS, GRID)
    assert "100 steps of 8 patches (crop 32, turn False), 2 folds, seeds 0, 1; dataset world dddddddddddd" in whole
    networks = {"networks": "the network of ibn is changed by the method (3 parameters; the config's has 2)"}
    assert f"unet resnet34 ({networks['networks']}), 100" in shared_line(FACTS | networks, GRID)
    assert "2 of 8 folds" in shared_line(FACTS | {"protocol_folds": "8"}, GRID)
    assert " 1 fold, " in shared_line(FACTS, replace(GRID, folds=("north",)))


def test_a_gap_that_is_not_clear_of_zero_has_no_share(cells):
    """The oracle gains 20 points in the north and loses 19 in the south."""
    lost = [
        replace(cell, metrics=cell.metrics | {"target/miou": 0.21})
        if (cell.method, cell.fold) == ("oracle", "south")
        else cell
        for cell in cells
    ]
    assert {row[0]: row[8] for row in rows(compare(lost, GRID))}["idea[weight=2] (3 of 4 cells)"] == "–"


def test_folds_that_share_a_time_have_an_interval_over_times(cells):
    """Both folds are of one time or each of its own."""
    apart = replace(GRID, held_out={"north": {"time": "2019"}, "south": {"time": "2020"}})
    assert compare(cells, apart)[0].target.low == pytest.approx(0.405)
    assert len(replace(GRID, folds=("a", "b", "c"), held_out={f: {"time": f > "b"} for f in "abc"}).groups) == 1


def test_the_per_pixel_baseline_is_a_line_and_no_method(cells):
    pixels = {"north": 0.3, "south": 0.2}
    *_, last = rows(compare(cells, GRID), pixels)
    assert last[:4] == ("per-pixel baseline (no method)", "source labels", "25.0", "–")
    assert fold_table(cells, GRID, pixels).splitlines()[-1] == "| per-pixel baseline (no method) | 30.0 | 20.0 |"
    pixels = {"north": 0.3, "south": math.nan}
    assert rows(compare(cells, GRID), pixels)[-1][2] == "–", "a mean over fewer folds is not to be compared"
    assert fold_table(cells, GRID, pixels).splitlines()[-1] == "| per-pixel baseline (no method) | 30.0 | – |"


def test_the_page_names_the_controls_that_are_lacking(cells):
    page = markdown_page(compare(cells, GRID), cells, replace(GRID, lacking=("few (a few labels)",)), "shared")
    assert "Controls that this comparison lacks: few (a few labels)." in page
    assert "lacks" not in markdown_page(compare(cells, GRID), cells, GRID, "shared")


def test_rules_stand_side_by_side_with_the_oracle_s_last():
    def line(rule, regret, legitimate=True):
        nothing = spread(np.full((1, 1), np.nan))
        return RuleLine(
            rule, "labels", legitimate, 5, 6, nothing, nothing, spread(np.array([[regret], [regret]])), nothing, nothing
        )

    found = rule_rows([line("oracle-rule", 0.0, False), line("last-step", 0.2), line("nuclear-norm", 0.1)])
    assert [row[0] for row in found] == ["nuclear-norm", "last-step", "oracle-rule (no result)"]
    assert found[0][2] == "5 of 6" and found[0][5] == "10.0 (10.0 to 10.0)" and found[0][6] == "–"
    assert "| nuclear-norm | labels |" in rule_table([line("nuclear-norm", 0.1)])


def test_alarms_stand_above_the_tables(cells):
    page = markdown_page(compare(cells, GRID), cells, GRID, "shared", alarms=["the runs of idea are old"])
    assert page.startswith("**Alarms**\n\n- the runs of idea are old\n\n| method |")


def test_the_terminal_s_table_fits_140_columns(cells, capsys):
    """With a name as long as any in the published tables; rich would put … in place of what does not fit."""
    label = "adversarial-alignment[width=16,maps=softmax]"
    grid = replace(GRID, methods=(*GRID.methods, label), needs=GRID.needs | {label: "target images"})
    oracle = [cell for cell in cells if cell.method == "oracle"]
    slow = {"target/miou": 0.02, "time/training_seconds": 98.76}
    longest = [replace(cell, method=label, metrics=cell.metrics | slow) for cell in oracle]
    print_comparison(rows(compare([*cells, *longest], grid)), "", "", "shared")
    text = capsys.readouterr().out
    assert "…" not in text and label in text and "gap closed: share of the way" in text
    assert max(map(len, text.splitlines())) <= 140


def test_a_narrow_terminal_gets_fewer_columns(cells, capsys, monkeypatch):
    """The demo's longest name at 80 columns: what counts most is left, and nothing is cut."""
    label = "adversarial-alignment[width=16]"
    grid = replace(GRID, methods=(*GRID.methods, label), needs=GRID.needs | {label: "target images"})
    longest = [replace(cell, method=label) for cell in cells if cell.method == "oracle"]
    monkeypatch.setattr(printed, "console", Console(emoji=False, width=80))
    print_comparison(rows(compare([*cells, *longest], grid), {"north": 0.2, "south": 0.3}), "", "", "shared")
    text = capsys.readouterr().out
    assert "…" not in text and label in text and "per-pixel baseline (no method)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "gain" in text and "closed" in text and "rare" not in text


def test_a_name_that_is_too_long_for_the_terminal_goes_on_in_the_next_line(cells, capsys, monkeypatch):
    """And takes no number's place."""
    label = f"idea[{','.join(f'option_{number}=0.125' for number in range(6))}]"
    grid = replace(GRID, methods=(*GRID.methods, label), needs=GRID.needs | {label: "target images"})
    longest = [replace(cell, method=label) for cell in cells if cell.method == "oracle"]
    monkeypatch.setattr(printed, "console", Console(emoji=False, width=80))
    print_comparison(rows(compare([*cells, *longest], grid)), "", "", "shared")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and len(label) > 80
    begin = next(number for number, line in enumerate(lines) if line.startswith("idea[option_0"))
    name, *numbers = map(str.strip, lines[begin].split("│"))
    assert numbers == ["60.5", "+20.0"]
    assert name + lines[begin + 1].split("│")[0].strip() == label


def test_a_line_is_broken_between_words_in_a_terminal_and_whole_in_a_file(capsys, monkeypatch):
    words = " ".join(["alarm:", *["settings"] * 20])
    for in_terminal in (True, False):
        monkeypatch.setattr(terminal, "console", Console(emoji=False, width=80, force_terminal=in_terminal))
        print_line(words)
        lines = capsys.readouterr().out.splitlines()
        assert " ".join(map(str.strip, lines)) == words
        assert len(lines) == (3 if in_terminal else 1)


def test_a_name_adds_no_column_no_row_and_no_html(cells):
    name = "a|b\n| c | `x` <img src=x> [red](http://x)"
    hostile = [replace(cell, method=name) if cell.method == "idea[weight=2]" else cell for cell in cells]
    grid = replace(
        GRID,
        needs=GRID.needs | {name: "target images"},
        methods=tuple(name if method == "idea[weight=2]" else method for method in GRID.methods),
    )
    table = markdown_table(compare(hostile, grid)).splitlines()
    assert len(table) == 2 + len(GRID.methods)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(HEADER) + 1}
    assert "<img" not in "".join(table) and "](" not in "".join(table)


def test_class_shares_have_a_table_with_the_least_error_first(cells):
    errors = {
        (method, fold, 0): ShareErrors(value, 0.2, 0.15, 0.1)
        for method, value in (("source-only", 0.12), ("idea[weight=2]", 0.05), ("blind", 0.2), ("oracle", 0.01))
        for fold in GRID.folds
    }
    lines = compare_shares(errors, {"source-only": 0.4, "idea[weight=2]": 0.5, "blind": 0.3, "oracle": 0.6}, GRID)
    page = markdown_page([], cells, GRID, "shared", shares=lines)
    rows = [line for line in page.splitlines() if line.startswith(("| idea", "| source-only", "| blind", "| oracle"))]
    assert rows[-4:] == [
        "| idea[weight=2] | 50.0 | 5.0 | 5.0 to 5.0 | 20.0 | 15.0 | 10.0 |",
        "| source-only | 40.0 | 12.0 | 12.0 to 12.0 | 20.0 | 15.0 | 10.0 |",
        "| blind | 30.0 | 20.0 | 20.0 to 20.0 | 20.0 | 15.0 | 10.0 |",
        "| oracle (bound) | 60.0 | 1.0 | 1.0 to 1.0 | 20.0 | 15.0 | 10.0 |",
    ]
    assert "Rank correlation: -1.00" in page
