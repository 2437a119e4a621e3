"""Against scipy, values worked out by hand, and simulated tables whose truth is known."""

import gc
import math

import numpy as np
import pytest
from scipy.stats import t, wilcoxon
from statsmodels.stats.power import TTestPower

from benchmark.evaluation.significance import (
    LEVEL,
    compare_with_control,
    holm,
    patch_noise,
    rank,
    rank_biserial,
    signed_rank_p,
)
from benchmark.training.prediction import miou

NOTHING: dict[str, float] = {}


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_wilcoxon_of_six_wins_is_two_of_sixty_four():
    assert signed_rank_p(np.array([1.0, 2, 3, 4, 5, 6])) == pytest.approx(2 / 64)
    assert signed_rank_p(np.zeros(6)) == 1
    mixed = np.array([3.0, -1, 4, 1.5, -5, 9, 2.6])
    assert signed_rank_p(mixed) == wilcoxon(mixed).pvalue


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    """0.01 * 4; then max(that, 0.02 * 3); then the ones that were not given."""
    assert holm([0.02, 0.01], 4) == pytest.approx([0.06, 0.04])
    assert holm([0.01, 0.011], 2) == pytest.approx([0.02, 0.02]) and holm([], 3) == []


def test_rank_biserial_weighs_by_size():
    """Ranks 1 to 4; the loss is the smallest: (2 + 3 + 4 - 1) / 10. Zeros do not count."""
    assert rank_biserial(np.array([-1.0, 2, 3, 4, 0])) == pytest.approx(0.8)
    assert rank_biserial(np.array([-1.0, -2])) == -1 and rank_biserial(np.zeros(3)) == 0


def test_no_test_is_quoted_where_it_cannot_speak():
    five = compare_with_control({"idea": column(1, 2, 3, 4, 5)}, NOTHING)[0]
    assert math.isnan(five.p) and five.silent == "5 held-out domains cannot reach 5 % in 1 comparison"
    assert (five.won, five.lost, five.effect) == (5, 0, 1)
    six = compare_with_control({"idea": column(1, 2, 3, 4, 5, 6)}, NOTHING)[0]
    assert six.p == pytest.approx(2 / 64) and six.silent == ""
    two = compare_with_control({name: column(1, 2, 3, 4, 5, 6) for name in "ab"}, NOTHING)
    assert all(math.isnan(line.p) for line in two), "2 * 2 / 64 is above 5 %"


def test_the_kinds_of_noise_are_told_apart():
    """Folds gain 1 and 3, seeds add -0.5 and 0.5 to all: a deviation of sqrt(2) between folds, and of sqrt(0.5) between
    seeds, so that the mean of four values has an error of sqrt(0.5 / 4), with two degrees of freedom."""
    table = np.array([[0.5, 1.5], [2.5, 3.5]])
    line = compare_with_control({"idea": table}, {"idea": 0.25})[0]
    assert line.between_domains == pytest.approx(math.sqrt(2))
    assert line.between_seeds == pytest.approx(math.sqrt(0.5 / 4)) and line.between_patches == 0.25
    assert line.seed_reach == pytest.approx(t.ppf(0.975, 2) * math.sqrt(0.5 / 4))
    assert not line.within_seed_noise
    small = compare_with_control({"idea": table - 0.6}, NOTHING)[0]
    assert small.within_seed_noise and math.isnan(small.between_patches)


def test_with_one_seed_nothing_is_said_of_their_noise():
    line = compare_with_control({"idea": column(0.1, 0.2)}, NOTHING)[0]
    assert math.isnan(line.between_seeds) and not line.within_seed_noise


def test_a_bound_is_no_comparison_and_has_no_test():
    """Six wins of a method are 2 / 64, and would be 4 / 64 and silent if the oracle counted."""
    wins = column(1, 2, 3, 4, 5, 6)
    idea, oracle = compare_with_control({"idea": wins, "oracle": 2 * wins}, NOTHING, bounds={"oracle"})
    assert idea.p == pytest.approx(2 / 64) and math.isnan(oracle.p) and oracle.silent == ""
    assert oracle.won == 6 and oracle.gain.mean == 7


def test_folds_that_share_times_are_tested_by_times_and_crossed_ones_not_at_all():
    wins, twice = column(*range(1, 13)), np.repeat(np.arange(6), 2)
    (by_times,) = compare_with_control({"idea": wins}, NOTHING, [twice])
    assert by_times.p == pytest.approx(2 / 64), "six times, not twelve folds"
    (crossed,) = compare_with_control({"idea": wins}, NOTHING, [twice, np.tile(np.arange(2), 6)])
    assert math.isnan(crossed.p) and crossed.silent.startswith("crossed folds share places and times")
    assert rank({name: np.arange(12.0) + shift for shift, name in enumerate("abc")}, [twice]) is None


def test_what_is_left_above_the_control_that_sees_target_images():
    wins = column(1, 2, 3)
    idea, other = compare_with_control({"idea": wins, "other": wins}, NOTHING, above={"idea": wins - 1.5})
    assert idea.above.mean == 0.5 and math.isnan(other.above.mean)


def test_without_a_gain_other_seeds_could_turn_the_sign_in_95_of_100_tables():
    """Three folds gain 3, 0 and -3 points, so that the mean over them is 0; two seeds. (A standard deviation over seeds
    in place of the interval marks 61 %.)"""
    tables = np.array([[0.03], [0.0], [-0.03]]) + np.random.default_rng(3).normal(0, 0.02, (TABLES, 3, 2))
    marked = [
        line.within_seed_noise for line in compare_with_control({str(k): x for k, x in enumerate(tables)}, NOTHING)
    ]
    assert np.mean(marked) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / TABLES))


def test_missing_cells_are_left_out_and_a_method_without_any_has_no_line():
    gains = {"idea": np.array([[1.0, math.nan], [math.nan, math.nan], [3.0, 5.0]]), "none": np.full((3, 2), math.nan)}
    (line,) = compare_with_control(gains, NOTHING)
    assert line.method == "idea" and line.gain.mean == pytest.approx(2.5) and line.won == 2


def test_each_test_is_corrected_for_all_methods_also_for_those_without_one():
    """Eight wins are 2 of 256, and there are three methods; of the other two only four and three folds are known."""
    wins = column(1, 2, 3, 4, 5, 6, 7, 8)
    some, few = (np.where(np.arange(8)[:, None] < known, wins, math.nan) for known in (4, 3))
    idea, *silent = compare_with_control({"idea": wins, "some": some, "few": few}, NOTHING)
    assert idea.p == pytest.approx(3 * 2 / 256)
    assert [line.silent for line in silent] == [
        f"{count} held-out domains cannot reach 5 % in 3 comparisons" for count in (4, 3)
    ]
    worse = column(1, 2, 3, 4, 5, 6, 7, -8)
    both = compare_with_control({"idea": wins, "worse": worse, "some": some}, NOTHING)
    assert [line.p for line in both[:2]] == pytest.approx([3 * 2 / 256, 2 * signed_rank_p(worse[:, 0])])


def matrices(random, right, zones=12):
    """Two classes, of which a share is predicted right in each zone; nothing is ignored."""
    hits = np.stack([random.binomial(400, right, zones) for _ in range(2)], axis=1)
    found = np.zeros((zones, 3, 2), dtype=np.int64)
    for mine, other in ((0, 1), (1, 0)):
        found[:, mine, mine], found[:, mine, other] = hits[:, mine], 400 - hits[:, mine]
    return found


def test_patch_noise_is_that_of_drawing_zones_again():
    """Against a plain loop over draws of its own, metric by metric."""
    random = np.random.default_rng(0)
    shares = np.clip(0.7 + 0.1 * random.normal(size=12), 0, 1)
    mine = np.concatenate([matrices(random, share, 1) for share in shares])
    control = matrices(random, 0.6)
    gains = []
    for _ in range(2000):
        chosen = random.integers(0, 12, 12)
        gains.append(miou(mine[chosen].sum(0)) - miou(control[chosen].sum(0)))
    assert patch_noise({"north": [(mine, control)]}) == pytest.approx(np.std(gains), rel=0.15)


def test_patch_noise_leaves_out_a_class_without_truth():
    """A class that is only predicted, by one pixel of one zone, adds no noise to speak of."""
    pair = matrices(np.random.default_rng(0), 0.7), matrices(np.random.default_rng(1), 0.6)
    wider = [np.pad(found, ((0, 0), (0, 1), (0, 1))) for found in pair]
    wider = [np.concatenate([found[:, :2], found[:, 3:], found[:, 2:3]], axis=1) for found in wider]
    wider[0][0, 0, 2] = 1
    assert patch_noise({"north": [tuple(wider)]}) == pytest.approx(patch_noise({"north": [pair]}), rel=0.01)


def test_patch_noise_is_nothing_where_all_zones_are_alike():
    same = np.repeat(matrices(np.random.default_rng(0), 0.7, 1), 5, axis=0)
    assert patch_noise({"north": [(same, same)], "south": [(same, same)]}) == 0
    assert math.isnan(patch_noise({}))


def test_folds_with_equally_many_zones_are_drawn_apart():
    """Of two folds with the same matrices the mean varies less than each: by 1 / sqrt(2), and would by 1 if they shared
    their draws."""
    random = np.random.default_rng(1)
    mine = np.concatenate([matrices(random, share, 1) for share in np.linspace(0.5, 0.9, 12)])
    pair = [(mine, matrices(random, 0.6))]
    one, both = patch_noise({"north": pair}), patch_noise({"north": pair, "south": pair})
    assert both == pytest.approx(one / math.sqrt(2), rel=0.15)


def test_ranks_are_those_of_demsar():
    """Eight domains, always the same order: ranks 1, 2, 3; CD = 2.343 sqrt(3 * 4 / 48) (Demšar 2006, table 5)."""
    values = {"best": np.arange(8) + 0.2, "middle": np.arange(8) + 0.1, "worst": np.arange(8) + 0.0}
    ranking = rank(values | {"half": np.where(np.arange(8) > 3, np.nan, 1.0)})
    assert ranking.ranks == {"best": 1, "middle": 2, "worst": 3} and ranking.domains == 8
    assert ranking.critical_difference == pytest.approx(2.343 * 0.5, abs=2e-3)
    assert ranking.nemenyi_p[0, 2] < LEVEL < ranking.nemenyi_p[0, 1], "ranks 2 apart differ, those 1 apart do not"
    assert ranking.friedman_p == pytest.approx(math.exp(-8), rel=1e-6), "chi-square 16 with 2 degrees of freedom"


def test_few_domains_or_methods_are_not_ranked():
    assert rank({name: np.arange(7.0) for name in "abc"}) is None
    assert rank({name: np.arange(9.0) for name in "ab"}) is None


TABLES, DOMAINS, METHODS = 1000, 12, 3


def _tables(gain):
    """Simulated gains (domains,) of some methods: `gain` standard deviations between domains over the control."""
    random = np.random.default_rng(7)
    for _ in range(TABLES):
        yield gain + random.normal(size=(METHODS, DOMAINS))


def test_under_no_difference_false_alarms_stay_at_the_nominal_rate(monkeypatch):
    """At least one of three methods is called different in at most 5 % of tables, and not in far fewer: the methods are
    independent here, where Holm gives little away."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels does, in every call
    found = [holm([signed_rank_p(gains) for gains in table], METHODS) for table in _tables(0.0)]
    alarms = sum(min(p) <= LEVEL for p in found) / TABLES
    assert 0.02 <= alarms <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / TABLES)


def test_a_planted_difference_is_found_with_about_its_nominal_power():
    """One method, against the power of a t test at 0.955 of the domains (the asymptotic efficiency, Lehmann 1975)."""
    found = sum(signed_rank_p(table[0]) <= LEVEL for table in _tables(0.9)) / TABLES
    assert found == pytest.approx(TTestPower().power(0.9, 0.955 * DOMAINS, LEVEL), abs=0.06)
