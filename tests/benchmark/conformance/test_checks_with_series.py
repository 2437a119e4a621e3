"""Methods keep the contract with a network that sees series, too; those that a series makes senseless are skipped."""

import pytest

from benchmark.cli.app import main
from benchmark.conformance import Fixtures, check_method, recipe_with
from benchmark.conformance.cost import cost_of
from benchmark.experiments.labels import parse_label
from benchmark.experiments.listing import reason_to_skip
from methods import registry

pytestmark = pytest.mark.usefixtures("one_thread", "networks_once")
ALL = registry.available()
# Widths of their adversaries.
SMALL = {"adversarial-alignment": 8, "clan": 8, "continuous-domain-adversary": 32, "dann": 64, "fada": 32}


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory):
    """Fixtures by the way in which the network sees series, each made once."""
    made: dict[str, Fixtures] = {}

    def of(series):
        if series not in made:
            made[series] = Fixtures(tmp_path_factory.mktemp("fixtures"), ALL["source-only"], recipe_with(series))
        return made[series]

    return of


def _check(name, fixtures, monkeypatch):
    monkeypatch.setattr("benchmark.conformance.checks.cost_of", lambda subject, pairs: cost_of(subject, 1))
    setting = parse_label(f"{name}[width={SMALL[name]}]" if name in SMALL else name)
    if reason := reason_to_skip(setting.method, fixtures.recipe.network, adapt=True, few=True, masks=True):
        pytest.skip(reason)
    results = check_method(setting.method, setting.hyperparameters, fixtures)
    assert not {result.check: result.why for result in results if result.status == "fail"}
    return {result.check: result.status for result in results}


@pytest.mark.parametrize(("name", "series"), [("source-only", "corrected"), ("dacs", "late"), ("cotta", "alone")])
def test_some_methods_keep_the_contract_with_a_series(name, series, fixtures, monkeypatch):
    statuses = _check(name, fixtures(series), monkeypatch)
    assert statuses["noise for target labels changes nothing"] == "pass"


@pytest.mark.slow
@pytest.mark.parametrize("series", ["alone", "late", "corrected"])  # the published one mixes the patches of a batch
@pytest.mark.parametrize("name", ALL)
def test_every_method_keeps_the_contract_with_a_series(name, series, fixtures, monkeypatch):
    _check(name, fixtures(series), monkeypatch)


def test_the_command_says_why_it_skips_a_method(capsys):
    assert main(["check", "style-randomization", "--series", "alone"]) == 0
    assert "changes images alone, and the config's network sees the series alone" in capsys.readouterr().out


def test_the_batches_of_the_checks_have_the_series_of_their_images(fixtures):
    of_series = fixtures("late")
    series, whole = of_series.series(2), of_series.series(4)
    assert series.values.shape[0] == 2 and (series.values == whole.values[:2, : series.values.shape[1]]).all()
    assert Fixtures(of_series._folder.parent, ALL["source-only"]).recipe.series_view is None
