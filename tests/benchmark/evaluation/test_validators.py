"""Scores against official code where there is some, else against values worked out here."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import spearmanr

from benchmark.evaluation import validators as v

REPOSITORY = Path(__file__).resolve().parents[3]


def official(name):
    data = Path(os.environ.get("LANDSHIFT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    path = data.parent / "fixtures" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no reference values at {path}")
    values = np.load(path, allow_pickle=False)
    assert json.loads(str(values["meta"]))
    return values


def logits_of(*probabilities):
    return np.log(np.array(probabilities).clip(1e-300))


@pytest.mark.parametrize(
    ("score", "name"),
    [(v.target_entropy, "entropy"), (v.information_maximization, "im"), (v.nuclear_norm, "bnm")],
)
def test_scores_equal_pytorch_adapts(score, name):
    values = official("validators_pytorch_adapt")
    assert score(values["in_target_logits"]) == pytest.approx(float(values[f"out_{name}64"]), rel=1e-9)


@pytest.mark.parametrize("layer", ["preds", "logits", "features"])
def test_density_equals_pytorch_adapts(layer):
    values = official("validators_pytorch_adapt")
    logits = values["in_target_logits"].astype(np.float64)
    points = {"preds": softmax(logits, axis=1), "logits": logits, "features": values["in_target_features"]}[layer]
    expected = float(values[f"out_snd_{layer}64"])
    assert v.soft_neighborhood_density(points) == pytest.approx(expected, rel=1e-8)


def test_the_prior_moves_information_maximization_to_its_shares():
    """Half the pixels surely water, half surely forest: nothing is lost where that is the prior, ln 2 of a uniform one
    of four classes."""
    logits = logits_of([1, 0, 0, 0], [0, 1, 0, 0])
    assert v.information_maximization(logits, np.array([0.5, 0.5, 1e-9, 1e-9])) == pytest.approx(0)
    assert v.information_maximization(logits, np.full(4, 0.25)) == pytest.approx(-math.log(2))
    assert v.information_maximization(logits) == pytest.approx(math.log(2))


def test_with_a_uniform_prior_it_is_the_mutual_information_less_a_constant():
    logits = np.random.default_rng(0).normal(size=(50, 5))
    difference = v.information_maximization(logits) - v.information_maximization(logits, np.full(5, 0.2))
    assert difference == pytest.approx(math.log(5))


def test_class_correlation_of_certain_predictions_depends_on_their_shares():
    """P'P is diagonal with the counts n_c: the trace is n, the norm sqrt(sum of n_c^2)."""
    certain = logits_of(*([[1, 0]] * 3 + [[0, 1]] * 4))
    assert v.class_correlation(certain) == pytest.approx(-7 / 5)
    assert v.class_correlation(logits_of(*[[1, 0]] * 4)) == pytest.approx(-1), "one class is the worst... and highest"


@pytest.mark.parametrize("errors", ["e", "e01"])
def test_the_weighted_risk_equals_the_official_one(errors):
    values = official("dev_iwcv")
    expected = {"e": "out_thuml_dev_risk", "e01": "out_thuml_dev_risk_01"}[errors]
    losses = np.asarray(values[f"in_{errors}"], np.float64).ravel()
    assert -v.weighted_risk(losses, values["in_w"].ravel()) == pytest.approx(float(values[expected]), abs=1e-10)


def test_equal_weights_give_the_plain_risk():
    assert v.weighted_risk(np.array([1.0, 2.0, 6.0]), np.ones(3)) == pytest.approx(-3)


def test_the_density_ratio_is_the_true_one_and_not_divided_by_its_mean():
    """Two Gaussians 1.5 apart: the true ratio is exp(1.5 x - 1.125), whatever the numbers of samples are."""
    random = np.random.default_rng(0)
    source, target, points = (random.normal(shift, size=(n, 2)) for shift, n in ((0, 600), ((1.5, 0), 300), (0, 500)))
    weights, true = v.density_ratio(source, target, points), np.exp(1.5 * points[:, 0] - 1.125)
    assert spearmanr(weights, true).statistic > 0.95
    assert np.median(np.abs(np.log(weights / true))) < 0.2
    few = points[points[:, 0] < 0]
    assert v.density_ratio(source, target, few).mean() < 0.4, "few points of a kind that the target lacks"


def test_the_density_ratio_ranks_better_than_the_official_one_and_is_as_large():
    values = official("dev_iwcv")
    source, target, validation = (values[f"in_gauss_{name}"] for name in ("src", "trg", "val"))
    weights, true = v.density_ratio(source, target, validation), np.exp(1.5 * validation[:, 0] - 1.125)
    assert spearmanr(weights, true).statistic > values["out_getweight_spearman_vs_true"].max()
    official_means = values["out_getweight_mean_over_val"]
    assert official_means.min() < weights.mean() < official_means.max()


def _two_sides(random, patches=60, pixels=10):
    """Source around 0 and target around (1.5, 0), pixel by pixel independent."""
    names = np.repeat(np.arange(patches), pixels)
    sides = random.normal(size=(patches * pixels, 2)), random.normal((1.5, 0), size=(patches * pixels, 2))
    return tuple(v.Sample(features, names) for features in sides)


def test_deep_embedded_validation_corrects_towards_the_target():
    """The loss is low where the source lies, with a mean of 1, and high where the target does, with a mean of 2.5."""
    source, target = _two_sides(np.random.default_rng(1))
    score, spread = v.deep_embedded_validation(1 + source.features[:, 0], source, target, repeats=5, seed=0)
    assert -score == pytest.approx(2.5, abs=0.5) and 0 < spread < 0.5
    again = v.deep_embedded_validation(1 + source.features[:, 0], source, target, repeats=5, seed=0)
    assert (score, spread) == again


def test_the_control_variate_is_at_work():
    """Over many draws the risk with it scatters less than the weighted losses alone, around the same truth."""
    with_it, alone = [], []
    for seed in range(40):
        source, _ = _two_sides(np.random.default_rng(seed), 30)
        losses = 1 + source.features[:, 0]
        weights = np.exp(1.5 * source.features[:, 0] - 1.125)  # the true ones
        with_it.append(-v.weighted_risk(losses, weights))
        alone.append(float((weights * losses).mean()))
    assert np.mean(with_it) == pytest.approx(2.5, abs=0.15)
    assert np.std(with_it) < 0.8 * np.std(alone)


def test_pixels_of_one_patch_are_never_on_both_sides_of_the_classifier(monkeypatch):
    source, target = _two_sides(np.random.default_rng(0), 6, 4)
    halves = []

    def noting(source_half, target_half, points):
        halves.append((set(source_half[:, 0]), set(points[:, 0])))
        return np.ones(len(points))

    monkeypatch.setattr(v, "density_ratio", noting)
    patch_of = dict(zip(source.features[:, 0], source.patches, strict=True))
    v.deep_embedded_validation(np.ones(24), source, target, repeats=2, seed=0)
    assert len(halves) == 4
    for fitted, weighted in halves:
        assert not {patch_of[value] for value in fitted} & {patch_of[value] for value in weighted}
        assert len(fitted) + len(weighted) == 24


def test_a_single_patch_cannot_be_halved():
    source, target = _two_sides(np.random.default_rng(0), 1)
    assert np.isnan(v.deep_embedded_validation(np.ones(10), source, target, repeats=5, seed=0)).all()


def test_thresholded_confidence_on_records_made_by_hand():
    """Two of four source pixels are right, so the threshold is the second highest confidence, that of 0.9."""
    source = logits_of([0.95, 0.05], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3])
    labels = np.array([0, 0, 1, 1])
    target = logits_of([0.99, 0.01], [0.1, 0.9], [0.85, 0.15], [0.6, 0.4])
    assert v.average_thresholded_confidence(source, labels, target) == 0.5
    assert v.average_thresholded_confidence(source, 1 - labels[[0, 0, 0, 0]], target) == 0, "nothing was right"
    assert v.average_thresholded_confidence(source, labels[[0, 0, 0, 0]], source) == 1


def test_the_ensemble_prefers_who_agrees_with_all():
    sure, other = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]), np.array([[0.4, 0.6], [0.4, 0.6], [0.4, 0.6]])
    scores = v.ensemble_agreement(np.stack((sure, sure, other)))
    assert scores.tolist() == pytest.approx([1, 1, 1 / 3])


def test_the_agreement_is_with_the_ensemble_of_probabilities_as_in_the_authors_code():
    """One sure candidate outweighs two unsure ones: votes would say the opposite."""
    sure, unsure = [[0.9, 0.1]], [[0.4, 0.6]]
    assert v.ensemble_agreement(np.array([sure, unsure, unsure])).tolist() == [1, 0, 0]


def test_mixtures_are_judged_apart_where_both_images_are_of_one_class_and_of_two():
    """Of three pixels with one class in both images two are right, of two with two classes one."""
    mixed = np.eye(3)[[0, 0, 2, 1, 1]]
    labels, partners = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 0, 2, 1])
    assert v.mixup_consistency(mixed, labels, partners) == (pytest.approx(2 / 3), 0.5)
    assert np.isnan(v.mixup_consistency(mixed, labels, labels)[1]), "one class everywhere"


def test_the_two_consistencies_are_joined_by_ranks_among_the_candidates():
    intra, inter = v.MIXUP_PARTS
    scores = [{intra: 0.9, inter: 0.1}, {intra: 0.5, inter: 0.1}, {intra: 0.6}, {intra: 0.8, inter: 0.7}]
    ranks = [each.get(v.MIXUP) for each in v.mixup_ranks(scores)]
    assert ranks == [pytest.approx((3 + 1.5) / 6), pytest.approx((1 + 1.5) / 6), None, pytest.approx((2 + 3) / 6)]
    assert v.mixup_ranks([{}]) == [{}]
