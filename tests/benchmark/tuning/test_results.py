"""What a comparison takes from a tuning: of each fold its own setting, where each fold was tuned for itself."""

from types import SimpleNamespace

import pytest

from benchmark.common.errors import SettingsError, TrackingError
from benchmark.experiments.provenance import code_version
from benchmark.tuning.plan import EACH
from benchmark.tuning.results import chosen_settings
from methods.entropy_minimization import EntropyMinimization
from methods.sources import code_digest

BENCH = SimpleNamespace(protocol=SimpleNamespace(label="tiny"), comparison="this", folds={"north": None, "south": None})


def _chosen(*found, code="", mixed=False):
    """By summaries of (fold, tuned on, setting, comparison)."""
    facts = {"method": "entropy-minimization", "method_digest": code_digest(EntropyMinimization), "tuning": "key"}
    facts |= {"rule": "source-validation", "trials": "4", "seed": "0", "prune": "True", "code_version": code}
    names = ("fold", "tuned_on", "setting", "comparison")
    summaries = {str(values): facts | dict(zip(names, values, strict=True)) for values in found}
    results = SimpleNamespace(summaries={"tiny (tuning)": summaries}.get)
    return chosen_settings(results, BENCH, "key", mixed=mixed)[1]["entropy-minimization"]


def test_each_fold_has_the_setting_that_was_found_on_it():
    north, south = ("north", EACH, "n", "this"), ("south", EACH, "s", "this")
    assert _chosen(north, south) == _chosen(south, north) == {"north": "n", "south": "s"}


def test_what_was_tuned_on_one_fold_is_for_all():
    assert _chosen(("north", "north", "n", "this")) == {"north": "n", "south": "n"}


def test_what_was_tuned_in_another_comparison_is_not_taken():
    with pytest.raises(SettingsError, match="is not yet tuned on south"):
        _chosen(("north", EACH, "n", "this"), ("south", EACH, "s", "another"))


def test_what_was_tuned_with_other_code_is_taken_only_when_asked_for():
    found = ("north", "north", "n", "this")
    with pytest.raises(TrackingError, match=r"code of yesterday \(1\), here .*--mixed"):
        _chosen(found, code="of yesterday")
    assert _chosen(found, code="of yesterday", mixed=True) == _chosen(found, code=code_version())
