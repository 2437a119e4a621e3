"""What is known of a protocol with its data and without."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.common.errors import SettingsError
from benchmark.experiments.jobs import Plan
from benchmark.experiments.run_folder import folder_of
from benchmark.planning.outline import outline, read_simulated

LABELS = ["source-only", "dacs", "tent", "few-target-labels", "oracle"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def absent(recipe, tmp_path, elsewhere):
    """A pinned protocol whose data are not here."""
    return Plan("dubai-leave-one-place-out", None, tmp_path / "results", tmp_path / "stores", recipe)


def test_with_the_data_a_plan_lists_the_very_jobs_of_a_run(plan, bench):
    found = outline(plan, None)
    assert found.identified and found.decoded and found.shared == bench.shared
    assert found.jobs(LABELS, list(found.folds), [0, 1]) == bench.jobs(LABELS, [0, 1])
    assert {name: fold.sizes for name, fold in bench.folds.items()} == found.folds
    assert found.patches == len(bench.catalog) and found.few == 1


def test_data_that_are_not_decoded_stay_so(plan, tmp_path):
    found = outline(replace(plan, stores=tmp_path / "stores"), None)
    assert not found.decoded and not found.identified and not (tmp_path / "stores").exists()


def test_without_data_the_pinned_sizes_are_taken(absent):
    found = outline(absent, None)
    assert found.folds["Tile 1"] == (1239, 354, 36, 45) and found.shape.size == 128 and found.few == 8
    assert not found.identified and "as pinned" in found.words[0]


def test_without_data_an_earlier_run_says_what_identities_hang_on(plan, bench, results, add_run, tmp_path, elsewhere):
    """As where results were copied from the machine that has the data."""
    job = bench.jobs(["source-only"], [0], ["2019"])[0]
    folder = folder_of(results.folder, add_run(results, bench.protocol.label, job.identity, bench.facts(job)))
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"shared": bench.shared}))
    away = replace(plan, data=None)
    pinned = tmp_path / "tiny.toml"
    text = "".join(f'"{name}" = {list(fold.sizes)}\n' for name, fold in bench.folds.items())
    source = Path(plan.protocol).read_text()
    pinned.write_text(f"{source}\n[pinned.folds]\n{text}")
    found = outline(replace(away, protocol=str(pinned)), results)
    assert found.identified and found.jobs(LABELS, list(found.folds), [3]) == bench.jobs(LABELS, [3])
    other = outline(replace(away, protocol=str(pinned), recipe=replace(plan.recipe, steps=5)), results)
    assert not other.identified


def test_published_counts_do_where_nothing_is_pinned(absent):
    found = outline(replace(absent, protocol="flair1-leave-departments-out"), None)
    assert len(found.folds) == 50 and found.shape.bands == 5 and "publishes" in found.words[0]
    assert found.patches == pytest.approx(77_412, abs=25)


def test_counts_take_the_place_of_all_that_is_known(absent):
    given = read_simulated("folds=3, train=100, val=10, adapt=0, test=20, size=128, few=2, patches=500")
    found = outline(absent, None, given)
    assert list(found.folds) == ["fold 1", "fold 2", "fold 3"] and found.folds["fold 1"] == (100, 10, 0, 20)
    assert (found.shape.size, found.shape.bands, found.few, found.patches) == (128, 3, 2, 500)
    assert "no target_adapt part" in found.jobs(["dacs"], ["fold 1"], [0])[0].skip


@pytest.mark.parametrize(
    ("protocol", "simulate", "message"),
    [
        ("flair1-official", None, "the folds of flair1-official-v1 are known only with its data; give --data"),
        ("flair1-official", "folds=3", "needs train=, val=, adapt= and test="),
        ("flair1-official", "folds=3,rows=2", "--simulate takes counts of folds, train, .*, not 'rows=2'"),
    ],
)
def test_what_is_not_known_is_asked_for(absent, protocol, simulate, message):
    with pytest.raises(SettingsError, match=message):
        outline(replace(absent, protocol=protocol), None, read_simulated(simulate) if simulate else None)
