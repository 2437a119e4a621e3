"""The baseline of single pixels, on the tiny world and on pixels whose class is their colour."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark import pixel_baseline as module
from benchmark.grid.asked import keep_pixel_scores, pixel_scores
from benchmark.pixel_baseline import _pixels, pixel_baseline, pixel_miou
from benchmark.tracking import Tracker


def test_it_counts_every_labelled_pixel_of_a_small_test(data):
    matrix, labels = pixel_baseline(data), data.store.labels_of(data.parts["target_test"].rows)
    truth = labels.read(data.parts["target_test"].rows).ravel()
    classes = len(data.task.classes)
    assert matrix.sum(1).tolist() == [*np.bincount(truth[truth != 255], minlength=classes), 0]
    assert np.array_equal(matrix, pixel_baseline(data)), "a fixed sample and a fixed model"


def test_it_learns_what_a_pixel_says_and_no_labels_of_the_target(data, monkeypatch):
    """Labels are made the pixel's first band in two halves, in the source; the test's are the other way round."""
    flipped = set(data.parts["target_test"].rows.tolist())
    read = data.store.read

    class Labels:
        def __init__(self, rows):
            self.rows = rows

        def read(self, rows):
            bright = (read(rows)[:, 0] > 100).astype(np.uint8)
            return 1 - bright if flipped.issuperset(rows.tolist()) else bright

    monkeypatch.setattr(type(data.store), "labels_of", lambda self, rows: Labels(rows))
    matrix = pixel_baseline(data)
    assert np.diag(matrix).sum() < 0.01 * matrix.sum() and pixel_miou(data) < 0.01


def test_domains_give_equally_many_pixels_and_large_parts_a_sample(data, monkeypatch):
    monkeypatch.setattr(module, "OF_A_PATCH", 4)
    part = data.parts["source_train"]
    values, labels = _pixels(data, part, 16, "some")
    assert values.shape == (len(labels), len(data.task.bands)) and 12 <= len(labels) <= 20
    nothing = replace(data, parts=data.parts | {"target_test": part.take(np.arange(0))})
    assert np.isnan(pixel_miou(nothing))


def test_scores_are_kept_by_data_and_folds(tmp_path):
    tracker = Tracker(tmp_path)
    experiment = tracker.experiment("tiny", "", {})
    facts = {"fingerprint": "f" * 64, "dataset_digest": "d" * 64, "class_set": "all"}
    assert pixel_scores(tracker, experiment, facts) == {}
    keep_pixel_scores(tracker, experiment, facts, {"north": 0.25, "south": float("nan")})
    assert pixel_scores(tracker, experiment, facts) == {"north": pytest.approx(0.25)}
    assert pixel_scores(tracker, experiment, facts | {"dataset_digest": "e" * 64}) == {}
