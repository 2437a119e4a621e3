"""Confusion matrices and what is computed from them, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from benchmark.evaluation import evaluate, f1, iou, miou, miou_flair_challenge, miou_flair_main, overall_accuracy


@pytest.fixture
def pixels(noise):
    truth, predicted = noise.integers(0, 4, 1000), noise.integers(0, 4, 1000)
    confusion = np.zeros((5, 4), dtype=np.int64)
    confusion[:4] = confusion_matrix(truth, predicted, labels=range(4))
    return truth, predicted, confusion


def test_metrics_equal_scikit_learn(pixels):
    truth, predicted, confusion = pixels
    np.testing.assert_allclose(iou(confusion), jaccard_score(truth, predicted, average=None))
    np.testing.assert_allclose(miou(confusion), jaccard_score(truth, predicted, average="macro"))
    np.testing.assert_allclose(f1(confusion), f1_score(truth, predicted, average="macro"))
    np.testing.assert_allclose(overall_accuracy(confusion), (truth == predicted).mean())


def test_the_definitions_part_where_pixels_are_ignored_or_classes_absent():
    # true class 0: 8 right, 2 taken for 1; class 1: 6 right; class 2 absent; ignored: 4 predicted as 1
    confusion = np.array([[8, 2, 0], [0, 6, 0], [0, 0, 0], [0, 4, 0]])
    np.testing.assert_allclose(iou(confusion), [0.8, 0.75, np.nan])
    assert miou(confusion) == pytest.approx((0.8 + 0.75) / 2)
    assert miou_flair_main(confusion) == pytest.approx((0.8 + 0.75 + 0) / 3)
    assert miou_flair_challenge(confusion) == pytest.approx((0.8 + 6 / 12) / 2)


def test_nothing_valid_gives_nan():
    confusion = np.array([[0, 0], [0, 0], [3, 1]])
    assert np.isnan([miou(confusion), overall_accuracy(confusion), f1(confusion)]).all()


def test_evaluation_counts_every_pixel_once_by_zone(data):
    part, classes = data.parts["target_test"], len(data.task.classes)
    labels = data.store.labels_of(part.rows)

    def predict(images):  # the brightness of the first band says the class
        choice = (images[:, 0].long() % classes).unsqueeze(1)
        return torch.zeros(len(images), classes, *images.shape[-2:]).scatter_(1, choice, 5.0)

    scores = evaluate(
        Fabric(accelerator="cpu", devices=1), predict, data.store, part.rows, labels, part.zones, classes, batch_size=3
    )
    assert set(scores.confusions) == set(part.zones)
    for zone, confusion in scores.confusions.items():
        rows = part.rows[part.zones == zone]
        truth, predicted = labels.read(rows).ravel(), (data.store.read(rows)[:, 0] % classes).ravel()
        valid = truth != 255
        expected = confusion_matrix(truth[valid], predicted[valid], labels=range(classes))
        np.testing.assert_array_equal(confusion[:-1], expected)
        np.testing.assert_array_equal(confusion[-1], np.bincount(predicted[~valid], minlength=classes))
    assert scores.total().sum() == labels.read(part.rows).size
