"""The files of a run that the rules read."""

import numpy as np
import pytest

from benchmark.common.errors import DataError
from benchmark.evaluation.comparison import Cell, Grid
from benchmark.evaluation.selection import Record
from benchmark.evaluation.validators import MIXUP, MIXUP_PARTS
from benchmark.experiments.checkpoint_records import (
    LEFT_OUT,
    patch_noises,
    pooled,
    read_confusions,
    read_records,
    with_nested,
    with_records,
    write_records,
    zonal_errors,
)

GRID = Grid(("a", "b", "oracle"), ("north",), (0,), {}, frozenset({"oracle"}), "a")
SURE = {name: np.eye(3)[[index] * 4] for index, name in enumerate(("water", "forest", "field"))}


@pytest.fixture
def store(tmp_path):
    """Writes the records of a run, and gives its folder."""

    def write(method, *classes):
        folder = tmp_path / method
        folder.mkdir()
        records = [Record(step, 0.5, 0.4, {"ensemble-agreement": 1.0}) for step in range(len(classes))]
        write_records(folder, records, [SURE[name] for name in classes])
        return folder

    return write


def _cells():
    return [Cell(method, "north", 0, "done", metrics={}) for method in GRID.methods]


def test_agreement_is_taken_anew_among_all_runs_but_bounds(store):
    """Of four candidates three say water; the bound's three, which say forest, must not count."""
    folders = {
        ("a", "north", 0): store("a", "water", "water"),
        ("b", "north", 0): store("b", "water", "forest"),
        ("oracle", "north", 0): store("oracle", "forest", "forest", "forest"),
    }
    first, second, bound = with_records(_cells(), GRID, folders)
    assert [record.scores["ensemble-agreement"] for record in first.pooled] == [1, 1]
    assert [record.scores["ensemble-agreement"] for record in second.pooled] == [1, 0]
    assert [record.scores["ensemble-agreement"] for record in second.records] == [1, 1], "within the run as logged"
    assert len(bound.records) == 3 and not bound.pooled


def test_a_run_without_a_sample_keeps_its_scores(store, tmp_path):
    folder = store("a")
    write_records(folder, [Record(1, 0.5, 0.4)], [])
    first, second, _ = with_records(_cells(), GRID, {("a", "north", 0): folder, ("b", "north", 0): tmp_path / "none"})
    assert list(first.records) == list(first.pooled) == [Record(1, 0.5, 0.4)]
    assert not second.records and not second.pooled


def test_the_rank_among_the_candidates_is_that_among_those_of_all_runs(tmp_path):
    """The first run's checkpoints are the best and the worst of three, and were ranked as two."""
    intra, inter = MIXUP_PARTS
    shares = {"a": (0.9, 0.1), "b": (0.5,)}
    for name, values in shares.items():
        (tmp_path / name).mkdir()
        scores = [{intra: value, inter: value, MIXUP: 1.0} for value in values]
        write_records(tmp_path / name, [Record(step, 0.5, 0.4, each) for step, each in enumerate(scores)], [])
    folders = [tmp_path / name for name in shares]
    first, second = pooled([read_records(folder) for folder in folders], folders)
    assert [record.scores[MIXUP] for record in (*first, *second)] == pytest.approx([1, 1 / 3, 2 / 3])
    assert first[0].scores[intra] == 0.9


def test_what_is_held_out_inside_a_fold_scores_the_same_method_fold_seed_and_step(tmp_path):
    """Each run inside a fold says another number; of the last cell one of two inner runs is missing."""
    cells, runs, expected = [], [], {}
    keys = [(method, fold, seed) for method in "ab" for fold in ("north", "south") for seed in (0, 1)]
    for number, (method, fold, seed) in enumerate(keys):
        records = [Record(step, 0.5, 0.4, {"nuclear-norm": 1.0}) for step in (10, 20)]
        cells.append(Cell(method, fold, seed, "done", metrics={}, records=records, pooled=records))
        for part in (0.0, 0.01) if number < 7 else (0.0,):
            folder = tmp_path / f"{number} {part}"
            folder.mkdir()
            write_records(folder, [Record(step, 0.9, number / 10 + part + step / 1000) for step in (10, 20)], [])
            runs.append(({"method": method, "inside": fold, "seed": str(seed), "inside_of": "2"}, folder))
        expected[method, fold, seed] = [number / 10 + 0.005 + step / 1000 for step in (10, 20)] if number < 7 else []
    nested = with_nested(cells, runs, lambda row, fold: row)
    assert len(nested) == len(keys)
    for cell in nested:
        for records in (cell.records, cell.pooled):
            found = [record.scores[LEFT_OUT] for record in records if LEFT_OUT in record.scores]
            assert found == pytest.approx(expected[cell.method, cell.fold, cell.seed])
            assert all(record.scores["nuclear-norm"] == 1 for record in records), "other scores stay"


def test_patch_noise_is_found_where_method_and_control_chose_other_checkpoints(tmp_path):
    random, cells, folders = np.random.default_rng(0), [], {}
    for method, step in (("a", 100), ("b", 200)):
        folder = tmp_path / method
        folder.mkdir()
        zones = np.array([f"north|{zone}" for zone in range(6)])
        target = {"zones/target_test": zones, f"{step}/target_test": random.integers(1, 50, (6, 3, 2))}
        source = {"zones/source_val": zones[:1], f"{step}/source_val": np.ones((1, 3, 2), dtype=np.int64)}
        np.savez(folder / "confusions.npz", **target, **source)
        cells.append(Cell(method, "north", 0, "done", metrics={"selected/step": float(step)}))
        folders[method, "north", 0] = folder
    noises = patch_noises(cells, GRID, folders)
    assert noises["b"] > 0 and np.isnan(noises["a"]) and np.isnan(noises["oracle"])
    (tmp_path / "b" / "confusions.npz").unlink()
    assert np.isnan(patch_noises(cells, GRID, folders)["b"])


@pytest.mark.parametrize(
    "damage",
    [
        {"2/source_val": np.ones((2, 3, 3), np.int64)},
        {"2/source_val": np.ones((2, 3, 2))},
        {"zones/source_val": np.array(["a"])},
        {"zones/source_val": np.array([1, 2])},
    ],
)
def test_confusions_are_read_by_step_part_and_zone_and_what_is_none_is_refused(tmp_path, damage):
    one, two = np.arange(12).reshape(2, 3, 2), np.ones((1, 3, 2), np.int64)
    whole = {
        "zones/source_val": np.array(["a", "b"]),
        "2/source_val": one,
        "4/source_val": one + 1,
        "zones/target_test": np.array(["c"]),
        "4/target_test": two,
    }
    np.savez(tmp_path / "confusions.npz", **whole)
    found = read_confusions(tmp_path)
    assert set(found) == {"2/source_val", "4/source_val", "4/target_test"}
    assert np.array_equal(found["2/source_val"]["b"], one[1]) and np.array_equal(found["4/target_test"]["c"], two[0])
    assert set(read_confusions(tmp_path, "4/source_val")) == {"4/source_val"}
    np.savez(tmp_path / "confusions.npz", **whole | damage)
    with pytest.raises(DataError, match="where a confusion matrix of each is expected"):
        read_confusions(tmp_path)


def test_errors_of_shares_are_those_of_the_chosen_checkpoint(tmp_path):
    right, wrong = np.array([[5, 0], [0, 5], [1, 1]]), np.array([[5, 0], [2, 3], [1, 1]])
    matrices = {"4/target_test": wrong[None], "8/target_test": right[None], "4/source_val": wrong[None]}
    zones = {f"zones/{part}": np.array(["a|1"]) for part in ("target_test", "source_val")}
    np.savez(tmp_path / "confusions.npz", **matrices, **zones)
    cells = [Cell(name, "north", 0, "done", metrics={"selected/step": step}) for name, step in (("a", 4), ("b", 8))]
    cells.append(Cell("oracle", "north", 0, "failed"))
    errors = zonal_errors(cells, {(name, "north", 0): tmp_path for name in GRID.methods})
    assert {key[0]: found.zones for key, found in errors.items()} == pytest.approx({"a": 0.2, "b": 0})
    assert errors["a", "north", 0].by_source == pytest.approx(0) and np.isnan(errors["b", "north", 0].by_source)
