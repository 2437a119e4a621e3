"""The sample of pixels: fixed, of the right parts, and never of the test."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.special import expit
from torch import nn
from torch.nn import functional as F

from benchmark.data.classes import IGNORE
from benchmark.evaluation.selection import Record, select
from benchmark.evaluation.validators import AGREEMENT, MIXUP, MIXUP_PARTS, Sample
from benchmark.models.segmentation import build_network
from benchmark.training import prediction as evaluation
from benchmark.training import target_sample as module
from benchmark.training.target_sample import (
    Evidence,
    Look,
    agreement,
    gather,
    look,
    principal_components,
    scores_of,
    scores_of_all,
)
from methods.ema import EMA
from methods.source_only import SourceOnly


@pytest.fixture(scope="module")
def fabric():
    return Fabric(accelerator="cpu", devices=1)


def first_band(classes):
    """Logits that hold the first band's value at each pixel."""
    return lambda batch: batch.images[:, :1].expand(-1, classes, -1, -1) * torch.arange(classes).view(1, -1, 1, 1)


def bright_or_dark(data):
    """Logits of the second class above the first where a pixel of the first band is above the target's median."""
    middle = float(np.median(data.store.read(data.parts["target_adapt"].rows)[:, 0])) + 0.5
    return lambda batch: F.pad(batch.images[:, :1] - middle, (0, 0, 0, 0, 1, len(data.task.classes) - 2))


def test_the_sample_is_of_the_pixels_it_says(fabric, data, monkeypatch):
    read = []
    monkeypatch.setattr(type(data.store), "read", _noting(type(data.store).read, read))
    classes = len(data.task.classes)
    found = gather(fabric, first_band(classes), data)
    allowed = {"target_adapt": set(data.parts["target_adapt"].rows), "source_val": set(data.parts["source_val"].rows)}
    assert set(read[0]) <= allowed["target_adapt"] and set(read[1]) <= allowed["source_val"]
    values = {int(value) for row in read[0] for value in np.unique(data.store.read(np.array([row]))[0, 0])}
    assert {round(float(value)) for value in found.target[:, 1]} <= values
    assert found.target.shape == (len(read[0]) * module.PIXELS, classes)
    assert len(found.labels) == len(found.source) and (found.labels != IGNORE).all()
    again = gather(fabric, first_band(classes), data)
    assert np.array_equal(found.target, again.target) and np.array_equal(found.labels, again.labels)


def test_the_expected_class_shares_are_those_of_the_sources_training_patches(fabric, data):
    classes, rows = len(data.task.classes), data.parts["source_train"].rows
    masks = data.store.labels_of(rows).read(rows)
    pixels = 1 + np.bincount(masks[masks != IGNORE], minlength=classes)
    assert gather(fabric, first_band(classes), data).prior == pytest.approx(pixels / pixels.sum())


def _noting(read, rows_read):
    def reading(store, rows):
        rows_read.append(rows)
        return read(store, rows)

    return reading


def test_labels_belong_to_their_pixels(fabric, data):
    """A prediction that is the truth is right at every sampled pixel of source validation."""
    part, classes = data.parts["source_val"], len(data.task.classes)
    truth = {row: data.store.labels_of(part.rows).read(np.array([row]))[0] for row in part.rows}
    images = {data.store.read(np.array([row])).tobytes(): row for row in part.rows}

    def predict(batch):
        logits = torch.zeros(len(batch.images), classes, *batch.images.shape[-2:])
        for index, image in enumerate(batch.images):
            row = images.get(image.to(torch.uint8)[None].numpy().tobytes())
            if row is not None:
                known = torch.from_numpy(truth[row]).long().clamp(max=classes - 1)
                logits[index] = torch.nn.functional.one_hot(known, classes).movedim(-1, 0).float()
        return logits

    found = gather(fabric, predict, data)
    assert (found.source.argmax(1) == found.labels).all()


def test_without_unlabelled_target_images_there_is_no_evidence(fabric, data):
    empty = data.parts["target_adapt"].take(np.array([], dtype=np.int64))
    assert gather(fabric, None, replace(data, parts=data.parts | {"target_adapt": empty})) is None


def test_scores_tell_a_sure_checkpoint_from_one_without_an_idea(fabric, data):
    random = np.random.default_rng(0)
    vague = gather(fabric, first_band(len(data.task.classes)), data)
    vague = replace(vague, target=random.normal(size=vague.target.shape).astype(np.float32) * 0.01)
    sure = replace(vague, target=vague.target * 1e4)
    one, other = scores_of(vague), scores_of(sure)
    assert set(one) == set(other) and all(np.isfinite(list(one.values())))
    for name in ("target-entropy", "information-maximization", "nuclear-norm"):
        assert other[name] > one[name]


def test_a_rule_that_cannot_score_is_left_out_and_the_others_score(fabric, data, monkeypatch, caplog):
    evidence = gather(fabric, bright_or_dark(data), data)
    whole = scores_of(evidence)
    assert set(MIXUP_PARTS) <= set(whole)
    unlabelled = scores_of(replace(evidence, source=evidence.source[:0], labels=evidence.labels[:0]))
    by_labels = {"thresholded-confidence", "difference-of-confidences", "confidence-optimal-transport"}
    assert by_labels < set(whole)
    assert unlabelled == {name: score for name, score in whole.items() if name not in by_labels}
    monkeypatch.setattr(module.validators, "nuclear_norm", lambda logits: np.linalg.inv(np.zeros((2, 2))))
    monkeypatch.setattr(module.validators, "class_correlation", lambda logits: math.inf)
    few = scores_of(evidence)
    assert few == {name: score for name, score in whole.items() if name not in ("nuclear-norm", "class-correlation")}
    assert "the rule nuclear-norm cannot score a checkpoint: Singular matrix" in caplog.text
    broken = replace(evidence, target=np.full_like(evidence.target, np.nan), mixed=None)
    assert scores_of(broken) == {"thresholded-confidence": 0.0}


def test_features_that_are_no_numbers_lose_no_run(fabric, data):
    source, target = np.ones((40, 9), np.float32), np.full((40, 9), np.inf, np.float32)
    few = module.principal_components(source, target, 4)
    assert [part.shape for part in few] == [(40, 4), (40, 4)]
    patches = np.repeat([0, 1], 20)
    evidence = replace(
        gather(fabric, first_band(len(data.task.classes)), data),
        source=np.zeros((40, len(data.task.classes)), np.float32),
        labels=np.zeros(40, np.int64),
        features=(Sample(few[0], patches), Sample(few[1], patches)),
    )
    assert "deep-embedded-validation" not in scores_of(evidence) and "nuclear-norm" in scores_of(evidence)


def test_who_agrees_with_the_others_scores_higher(fabric, data):
    like = gather(fabric, first_band(len(data.task.classes)), data)
    unlike = replace(like, target=-like.target)
    first, second, third = agreement([like, like, unlike])
    assert first == second > third


def test_a_window_of_each_patch_is_predicted_where_it_is_asked_for(fabric, data):
    sides, classes = [], len(data.task.classes)

    def predict(batch):
        sides.append(tuple(batch.images.shape[-2:]))
        return first_band(classes)(batch)

    found = gather(fabric, predict, data, window=8)
    assert set(sides) == {(8, 8)} and len(found.target) == gather(fabric, predict, data, 0).target.shape[0]
    assert set(sides) == {(8, 8), (data.store.size, data.store.size)}


def _margin(x, near, far):
    return 2 - np.where(np.abs(x) < 1, near, far) * np.abs(x)


def _shifted(near, far, seed=0, patches=64, pixels=16):
    """Covariate shift: the feature x is N(0, 1) in the source and N(1.5, 1) in the target, the truth is 1 with
    probability sigmoid(2 - 2 |x|), and a checkpoint has its own two factors in place of 2, below and above |x| = 1.

    Returns:
        its evidence, and the true risks (source, target).
    """
    random, names = np.random.default_rng(seed), np.repeat(np.arange(patches), pixels)
    source, target = random.normal(size=len(names)), random.normal(1.5, size=len(names))
    labels = (random.random(len(names)) < expit(_margin(source, 2, 2))).astype(np.int64)

    def logits(x):
        return np.stack((np.zeros_like(x), _margin(x, near, far)), 1).astype(np.float32)

    samples = tuple(Sample(np.stack((x, random.normal(size=len(x))), 1), names) for x in (source, target))
    many = np.random.default_rng(9).normal(size=200_000)
    risks = []
    for x in (many, many + 1.5):
        margin, right = _margin(x, near, far), expit(_margin(x, 2, 2))
        risks.append(float((right * np.logaddexp(0, -margin) + (1 - right) * np.logaddexp(0, margin)).mean()))
    return Evidence(logits(target), logits(source), labels, np.array([0.5, 0.5]), samples), risks


@pytest.mark.parametrize(("near", "far"), [(0.5, 0.5), (2.0, 2.0), (2.0, 0.8), (-1.0, 2.0)])
def test_the_rule_estimates_the_risk_on_the_target_where_only_the_images_differ(near, far):
    estimates = []
    for seed in range(5):
        evidence, (on_source, on_target) = _shifted(near, far, seed)
        estimates.append(-scores_of(evidence)["deep-embedded-validation"])
    assert abs(on_source - on_target) > 0.07, "or there is nothing to see"
    assert abs(np.mean(estimates) - on_target) < 0.5 * abs(on_source - on_target)


def test_the_rule_takes_the_checkpoint_that_is_better_on_the_target():
    """Of two, the first is better on the source, as its validation says, and the second where the target is."""
    first, second = (2.0, 0.8), (-1.0, 2.0)
    (one, (on_source, on_target)), (other, others) = _shifted(*first), _shifted(*second)
    assert on_source < others[0] and on_target > others[1]
    looks = [Look(one, math.nan, 0.0), Look(other, math.nan, 0.0)]
    for order in (1, -1):
        records = [Record(step, 0.5, 0.5, scores) for step, scores in enumerate(scores_of_all(looks[::order]))]
        assert select(records, "deep-embedded-validation") == (1 if order == 1 else 0)


def test_the_estimate_hangs_on_the_features_and_not_on_the_predictions():
    """Without them the weights are equal, and the estimate is the source's risk."""
    evidence, (on_source, on_target) = _shifted(0.5, 0.5)
    blind = replace(evidence, features=tuple(Sample(each.features * 0, each.patches) for each in evidence.features))
    assert -scores_of(blind)["deep-embedded-validation"] == pytest.approx(on_source, abs=0.05)
    assert on_target - on_source > 0.15
    assert "deep-embedded-validation" not in scores_of(replace(evidence, features=None))
    assert "target-entropy" in scores_of(replace(evidence, features=None))


def test_mixtures_are_of_two_patches_and_compared_with_what_both_are_predicted_as(fabric, data):
    classes, images, predict = len(data.task.classes), [], bright_or_dark(data)

    def noting(batch):
        images.append(batch.images[:, 0])
        return predict(batch)

    found = gather(fabric, noting, data)
    one, _, mixed = images
    half = len(one) // 2
    assert half and torch.allclose(mixed, 0.55 * one + 0.45 * one.roll(half, 0))
    values, partners = found.target[:, 1], (found.mixed[:, 1] - 0.55 * found.target[:, 1]) / 0.45
    assert found.mixed.shape == (len(one) * module.PIXELS, classes)
    assert (found.partners == (partners > 0)).all() and 0 < found.partners.mean() < 1
    scores, differing = scores_of(found), (values > 0) != found.partners
    assert scores[MIXUP_PARTS[0]] == 1, "a mixture of two bright values is bright"
    assert scores[MIXUP_PARTS[1]] == pytest.approx(((found.mixed[:, 1] > 0) == (values > 0))[differing].mean())
    one_patch = data.parts["target_adapt"].take(np.array([0]))
    assert gather(fabric, predict, replace(data, parts=data.parts | {"target_adapt": one_patch})).mixed is None


def test_ranks_and_agreement_are_those_among_the_checkpoints_of_a_run(fabric, data):
    good = gather(fabric, bright_or_dark(data), data)
    wrong, none = (replace(good, mixed=mixed) for mixed in (-good.mixed, None))
    looks = [Look(each, math.nan, 0.0) for each in (good, wrong, none)]
    first, second, third = scores_of_all(looks)
    assert first[MIXUP] > second[MIXUP] > 0 and MIXUP not in third and AGREEMENT in third


class _Mosaic(nn.Module):
    """An encoder whose deepest features are the first two bands' means over cells of four pixels' side."""

    def forward(self, images):
        return [images, F.avg_pool2d(images[:, :2], 4)]


def test_features_are_those_of_the_cell_that_a_pixel_lies_in(fabric, data, monkeypatch):
    encoder, classes = _Mosaic(), len(data.task.classes)
    monkeypatch.setattr(module, "principal_components", lambda source, target, most: (source, target))

    def predict(batch):
        """Logits that hold the means of each pixel's cell, of an image that the encoder saw padded below and right."""
        padded = F.pad(batch.images, (0, 2, 0, 6), mode="replicate")
        encoder(padded * 0)  # the last call counts
        cells = encoder(padded)[-1].repeat_interleave(4, 2).repeat_interleave(4, 3)
        side = batch.images.shape[-1]
        return F.pad(cells[..., :side, :side], (0, 0, 0, 0, 0, classes - 2))

    found = gather(fabric, predict, data, window=22, encoders=[encoder])
    for sample, logits in zip(found.features, (found.source, found.target), strict=True):
        np.testing.assert_allclose(sample.features, logits[:, :2], rtol=1e-6)
        assert len(np.unique(sample.features[:, 0])) > 10
    assert np.bincount(found.features[1].patches).max() == module.PIXELS
    assert not encoder._forward_hooks, "nothing is left behind"


@pytest.mark.parametrize("side", [0, 16])
def test_batches_are_bounded_in_pixels_and_the_sample_is_the_same_in_any(fabric, data, monkeypatch, side):
    """Sixty-four patches of 512 pixels in one batch would take 7 GiB of a U-Net."""
    encoder, classes, parts, sizes = _Mosaic(), len(data.task.classes), data.parts, []
    nine = {name: parts[name].take(np.arange(9) % len(parts[name].rows)) for name in ("target_adapt", "source_val")}
    data, area = replace(data, parts=parts | nine), (side or data.store.size) ** 2

    def predict(batch):
        sizes.append(len(batch.images))
        encoder(batch.images)
        return first_band(classes)(batch)

    found = []
    for most in (64, 4, 1):
        monkeypatch.setattr(evaluation, "PIXELS_AT_ONCE", most * area + area // 2)
        found.append(gather(fabric, predict, data, side, [encoder]))
    assert sizes == [9, 9, 9] + [4, 4, 1] * 3 + [1] * 27
    whole, *others = found
    assert len(np.unique(whole.target)) > 100 and len(whole.features[1].features) == len(whole.target)
    for other in others:
        for name in ("target", "source", "labels", "mixed", "partners"):
            assert np.array_equal(getattr(other, name), getattr(whole, name))
        for mine, theirs in zip(other.features, whole.features, strict=True):
            assert np.array_equal(mine.features, theirs.features) and np.array_equal(mine.patches, theirs.patches)


def test_the_features_are_of_the_network_that_predicts(fabric, data, recipe):
    """A method that predicts with an average of its weights is judged by the average's features."""
    task = data.task
    mean, std = np.full(len(task.bands), 100.0), np.full(len(task.bands), 50.0)

    def make(kind, seed):
        return kind(build_network(recipe.network, len(task.bands), len(task.classes), mean, std, seed), task)

    ema, plain = make(EMA, 0), make(SourceOnly, 0)
    ema.network.load_state_dict(make(SourceOnly, 1).network.state_dict())  # the average keeps those of seed 0
    mine, theirs, other = (look(fabric, method, data, 0).evidence for method in (ema, plain, make(SourceOnly, 1)))
    assert np.array_equal(mine.target, theirs.target)
    assert np.array_equal(mine.features[1].features, theirs.features[1].features)
    assert not np.array_equal(mine.features[1].features, other.features[1].features)
    assert mine.classifier.shape[0] == len(task.classes) and np.array_equal(mine.classifier, theirs.classifier)
    assert not np.array_equal(mine.classifier, other.classifier)
    assert mine.features[0].features.shape == (len(mine.labels), module.DIMENSIONS)
    scores = scores_of_all([look(fabric, ema, data, 0)])[0]
    assert math.isfinite(scores["deep-embedded-validation"]) and scores["deep-embedded-validation-spread"] > 0
    assert math.isfinite(scores["transfer-score"])


def test_a_prediction_without_a_known_encoder_has_no_such_score(fabric, data):
    found = gather(fabric, first_band(len(data.task.classes)), data, encoders=[_Mosaic()])
    assert found.features is None and "deep-embedded-validation" not in scores_of(found)
    assert found.classifier is None and "transfer-score" not in scores_of(found)


def test_principal_components_keep_the_distances_of_what_varies():
    random = np.random.default_rng(0)
    plane = random.normal(size=(60, 2)).astype(np.float32) @ random.normal(size=(2, 30)).astype(np.float32) + 5
    one, other = principal_components(plane[:40], plane[40:], 2)
    assert one.shape == (40, 2) and other.shape == (20, 2)
    np.testing.assert_allclose(np.linalg.norm(one[3] - other[7]), np.linalg.norm(plane[3] - plane[47]), rtol=1e-4)
