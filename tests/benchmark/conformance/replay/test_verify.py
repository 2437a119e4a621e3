"""Published tables: what holds, what was changed, and what cannot be known."""

import json
import shutil
from dataclasses import replace

import pytest

from benchmark.cli.app import main
from benchmark.common.errors import DataError, SettingsError
from benchmark.conformance.replay.verify import (
    check_engine,
    check_files,
    check_identities,
    check_numbers,
    check_protocol,
    check_rerun,
    chosen,
    jobs_of_cells,
    other_data,
    plan_of_table,
    runs_of,
)
from benchmark.experiments.identity import comparison_of, identity_of
from benchmark.experiments.jobs import job_content
from benchmark.reporting.table_file import TABLE, has_table, read_table
from methods import registry
from methods.sources import code_digest
from protocols.files import load

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained.published, tmp_path / "published")


@pytest.fixture
def table(folder):
    return read_table(folder)


@pytest.fixture
def runs(trained, table):
    return runs_of(table, trained.session.results)


def _edit(folder, column, new):
    """Write another number into the first row of ``cells.csv``; returns the one that stood there."""
    lines = (folder / "cells.csv").read_text().splitlines()
    row, place = lines[1].split(","), lines[0].split(",").index(column)
    old, row[place] = row[place], new
    (folder / "cells.csv").write_text("\n".join([lines[0], ",".join(row), *lines[2:]]) + "\n")
    return old


def test_a_true_table_holds_in_every_check_and_when_trained_again(trained, folder, capsys):
    (folder / "older").mkdir()
    (folder / "older" / "comparison.md").write_text("# A table of an older version\n")
    options = [*trained.options, "--rerun", "1", "--protocol", trained.plan.protocol]
    assert main(["verify", str(folder), *options]) == 0
    told = capsys.readouterr().out
    assert told.count("│ holds │") == 6 and "cut again from the data found, the same folds" in told
    assert "4 of 4 the same with the installed code" in told and "1 came out the same to the last digit" in told
    assert "older\nno record of identities" in told
    assert "2 tables: 1 without a contradiction, 0 contradicted, 1 without a record of identities" in told


def test_a_module_that_a_table_names_is_not_imported(table, tmp_path, monkeypatch):
    (tmp_path / "named_by_a_table.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    cells = [replace(cell, setting="named_by_a_table:Method") for cell in table.cells]
    check = check_identities(replace(table, cells=cells))
    assert check.holds is None and "a module that a check never imports" in check.message
    assert not (tmp_path / "ran").exists()


def test_without_runs_and_data_a_table_is_not_contradicted_but_unknown(trained, folder, tmp_path, capsys):
    assert main(["verify", str(folder), "--results", str(tmp_path / "none"), "--rerun", "1"]) == 0
    told = capsys.readouterr().out
    assert "tiny is not here; give its file (--protocol)" in told and "the runs are not here" in told
    assert "1 without a contradiction" in told and not (tmp_path / "none").exists()


def test_a_changed_number_is_found_wherever_it_is(trained, folder, table, runs, capsys):
    cell = table.cells[0]
    assert check_files(table).holds and check_numbers(table, runs).holds
    said = (folder / "comparison.md").read_text()
    mean = f"{50 * (cell.target_miou + table.cells[1].target_miou):.1f}"
    line = "| source-only | source labels | {} |"
    assert line.format(mean) in said
    (folder / "comparison.md").write_text(said.replace(line.format(mean), line.format("99.9")))
    assert f"source-only: 99.9 in comparison.md, {mean} by its cells" in check_files(table).message
    (folder / "comparison.md").write_text(said)

    old = _edit(folder, "target/miou", "0.987654")
    assert main(["verify", str(folder), *trained.options]) == 1
    told = capsys.readouterr().out
    assert "CONTRADICTED" in told and "1 contradicted" in told
    _edit(folder, "target/miou", old)
    assert check_files(table).holds

    changed = replace(table, cells=[replace(cell, target_miou=cell.target_miou + 1e-9), *table.cells[1:]])
    assert check_files(changed).holds  # the files round
    assert "target/miou is" in check_numbers(changed, runs).message
    other = replace(table, cells=[replace(cell, identity="0" * 16), *table.cells[1:]])
    check = check_numbers(other, runs_of(other, trained.session.results))
    assert "the identity is 0000000000000000 in the record" in check.message


def test_a_table_made_before_its_runs_were_published_is_checked_by_their_keys(trained, table):
    unpublished = replace(table, cells=[replace(cell, run="") for cell in table.cells])
    check = check_numbers(unpublished, runs_of(unpublished, trained.session.results))
    assert check.holds and check.message.startswith("4 of 4 cells")
    gone = replace(table, cells=[replace(cell, run="", identity="0" * 16) for cell in table.cells])
    assert check_numbers(gone, runs_of(gone, trained.session.results)).holds is None


@pytest.mark.parametrize("column", ["target/f1", "target_domain/d901_2020/miou", "selection/last-step/target_miou"])
def test_every_column_is_held_against_the_run(folder, table, runs, column):
    old = _edit(folder, column, "0.123456")
    check = check_numbers(table, runs)
    assert check.holds is False and f"{column} is 0.123456 in cells.csv, {old} by the run" in check.message


def test_a_logged_number_that_the_confusion_matrices_do_not_give_is_found(table, runs, monkeypatch):
    real = check_numbers.__globals__["read_confusions"]
    monkeypatch.setattr(
        "benchmark.conformance.replay.verify.read_confusions",
        lambda folder, *places: {
            place: {zone: matrix[:, ::-1] for zone, matrix in found.items()}
            for place, found in real(folder, *places).items()
        },
    )
    check = check_numbers(table, runs)
    assert check.holds is False and "target/miou is" in check.message


def test_a_cell_that_is_missing_or_too_many_is_told(folder, table):
    fewer = replace(table, cells=table.cells[1:])
    assert "of cells.csv is not in the record" in check_files(fewer).message
    more = replace(table, cells=[*table.cells, replace(table.cells[0], seed=7)])
    assert "seed 7 is missing in cells.csv" in check_files(more).message


def test_identities_that_are_others_say_which_code_it_is(table, monkeypatch):
    real = check_identities(table)
    assert real.holds and "4 of 4" in real.message

    def of_another(changed):
        digest = lambda method: "0" if registry.name_of(method) == changed else code_digest(method)  # noqa: E731
        monkeypatch.setattr("benchmark.experiments.jobs.code_digest", digest)

    of_another("tent")
    assert check_identities(table).message == "2 of 4 the same with the installed code; 2 not: method code (tent)"
    of_another("source-only")
    told = check_identities(table).message
    assert told.startswith("0 of 4") and "2 not: code of the source-only run it starts from" in told


def test_a_recipe_that_has_more_values_now_is_another(table):
    recipe = {name: value for name, value in table.shared["recipe"].items() if name != "momentum"}
    shared = {**table.shared, "recipe": recipe}
    facts = {**table.facts, "comparison": comparison_of(shared)}
    cells = [
        replace(cell, identity=identity_of(job_content(shared, cell.setting, cell.fold, cell.seed)))
        for cell in table.cells
    ]
    older = replace(table, shared=shared, facts=facts, cells=cells)
    assert "4 not: recipe" in check_identities(older).message
    changed = check_identities(replace(table, shared=shared))
    assert changed.holds is False and "the record was changed" in changed.message
    assert check_identities(replace(table, shared={})).holds is None


def test_a_row_that_stands_for_another_setting_is_known_by_that_setting(table):
    key = f"{table.facts['comparison']}-source-validation-8-each-fold"
    cells = [replace(cell, method=f"{cell.method} (tuned)") for cell in table.cells]
    assert check_identities(replace(table, facts={**table.facts, "comparison": key}, cells=cells)).holds


def test_engine_code_that_is_another_is_told_and_no_contradiction(table):
    assert check_engine(table).holds
    other = replace(table, cells=[replace(cell, code_version="0.0.0+1") for cell in table.cells])
    assert check_engine(other).holds is None and "4 cells of 0.0.0+1; here" in check_engine(other).message


def test_other_folds_contradict_and_another_version_does_not(trained, table, tmp_path):
    plan = trained.plan
    assert check_protocol(table, plan.data, plan.protocol).holds
    other = replace(table, facts={**table.facts, "fingerprint": "0" * 64})
    assert check_protocol(other, plan.data, plan.protocol).holds is False
    newer = replace(table, facts={**table.facts, "protocol_version": "2"})
    assert check_protocol(newer, plan.data, plan.protocol).holds is None
    nowhere = check_protocol(table, tmp_path / "none", plan.protocol)
    assert nowhere.holds is None and nowhere.message.startswith("data not here")


def test_without_data_the_pinned_fingerprint_is_compared(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    protocol = load("world-leave-times-out")
    facts = {"protocol": protocol.name, "protocol_version": str(protocol.version)}
    pinned = {**table.facts, **facts, "fingerprint": protocol.fingerprint}
    check = check_protocol(replace(table, facts=pinned), None)
    assert check.holds and "as pinned in its file; data not here" in check.message
    assert check_protocol(replace(table, facts={**pinned, "fingerprint": "0" * 64}), None).holds is False


def test_a_rerun_that_comes_out_otherwise_contradicts_with_the_difference(trained, table):
    cells = chosen(table, 2)
    assert cells == chosen(table, 2) and len(chosen(table, 9)) == 4
    jobs = jobs_of_cells(trained.session.bench, cells)
    runs = trained.session.results.finished(trained.session.experiment)
    assert check_rerun(table, cells, jobs, runs).holds
    then = [{**table.environments[0], "python": "2.7"}]
    off = [replace(cells[0], target_miou=cells[0].target_miou + 0.01), cells[1]]
    check = check_rerun(replace(table, environments=then), off, jobs, runs)
    assert check.holds is False and "(-1.0000 points)" in check.message and "not as then: python" in check.message


def test_a_rerun_is_not_made_on_other_data_nor_without_a_recipe(trained, table, tmp_path):
    bench, places = trained.session.bench, (trained.plan.data, tmp_path, tmp_path, trained.plan.protocol)
    assert other_data(table, bench) == ""
    assert "other data:" in other_data(replace(table, facts={**table.facts, "dataset_digest": "0" * 64}), bench)
    assert plan_of_table(table, *places).recipe == trained.plan.recipe
    with pytest.raises(SettingsError, match="lacks the recipe"):
        plan_of_table(replace(table, shared={}), *places)
    recipe = json.loads(json.dumps(table.shared["recipe"]))
    recipe["network"]["encoder_weights"] = "0" * 64
    with pytest.raises(SettingsError, match="start from a file of weights"):
        plan_of_table(replace(table, shared={**table.shared, "recipe": recipe}), *places)
    recipe["network"]["encoder_weights"] = "packaged:" + "0" * 64
    again = plan_of_table(replace(table, shared={**table.shared, "recipe": recipe}), *places)
    assert again.recipe.network.encoder_weights == "packaged", "they can be had by that word"


def test_a_folder_says_which_comparison_it_holds(folder, table, tmp_path):
    assert has_table(folder) and read_table(folder).facts == table.facts
    (folder / TABLE).write_text("{}")
    assert has_table(folder), "a report of another version is a report"
    assert not has_table(tmp_path / "none")


def test_a_file_that_is_no_record_and_a_folder_without_tables_are_refused(folder, tmp_path, capsys):
    (folder / TABLE).write_text('{"protocol": "x"}')
    with pytest.raises(DataError, match=r"is no record of a comparison: KeyError: 'protocol_version'"):
        read_table(folder)
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(tmp_path / "empty")]) == 1
    assert "there is no published comparison in" in capsys.readouterr().err
