"""The baseline of single pixels, on the tiny world and on pixels whose class is their colour."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmark.experiments import pixels
from benchmark.experiments.pixels import keep_pixel_scores, pixel_scores
from benchmark.training import pixel_baseline as module
from benchmark.training.pixel_baseline import _pixels, pixel_baseline, pixel_miou
from benchmark.training.prediction import miou


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
    assert np.diag(matrix).sum() < 0.01 * matrix.sum()


def test_the_test_is_read_after_the_model_is_fitted(data, monkeypatch):
    read, calls = module._pixels, []
    monkeypatch.setattr(module, "_pixels", lambda *given: calls.append(given[-1]) or read(*given))
    fit = HistGradientBoostingClassifier.fit
    monkeypatch.setattr(
        HistGradientBoostingClassifier, "fit", lambda self, *given: calls.append("fit") or fit(self, *given)
    )
    pixel_baseline(data)
    assert calls[-2:] == ["fit", "test"] and "test" not in calls[:-1]


def test_a_fold_whose_sample_lacks_a_class_of_the_test_has_no_value(data, monkeypatch):
    """Methods are scored on all pixels, so their mean is over one class more."""
    matrix = pixel_baseline(data)
    assert pixel_miou(data) == miou(matrix)
    some = np.flatnonzero(matrix.sum(1))[-1]
    missed = matrix.copy()
    missed[some] = 0
    monkeypatch.setattr(module, "pixel_baseline", lambda data: missed)
    assert np.isfinite(miou(missed)) and np.isnan(pixel_miou(data))


def test_domains_give_equally_many_pixels_and_large_parts_a_sample(data, monkeypatch):
    monkeypatch.setattr(module, "OF_A_PATCH", 4)
    part = data.parts["source_train"]
    values, labels = _pixels(data, part, 16, "some")
    assert values.shape == (len(labels), len(data.task.bands)) and 12 <= len(labels) <= 20
    nothing = replace(data, parts=data.parts | {"target_test": part.take(np.arange(0))})
    assert np.isnan(pixel_miou(nothing))


def test_scores_are_kept_by_version_data_and_folds(results, monkeypatch):
    facts = {"fingerprint": "f" * 64, "dataset_digest": "d" * 64, "class_set": "all"}
    assert pixel_scores(results, "tiny-v1", facts) == {}
    keep_pixel_scores(results, "tiny-v1", facts, {"north": 0.25, "south": float("nan")})
    keep_pixel_scores(results, "tiny-v1", facts, {"west": 0.5})
    known = {"north": 0.25, "south": float("nan"), "west": 0.5}
    assert pixel_scores(results, "tiny-v1", facts) == pytest.approx(known, nan_ok=True), "NaN is not fitted again"
    assert pixel_scores(results, "tiny-v1", facts | {"dataset_digest": "e" * 64}) == {}
    monkeypatch.setattr(pixels, "VERSION", 0)
    assert pixel_scores(results, "tiny-v1", facts) == {}, "another version computes other values"


def test_constants_that_change_a_value_are_of_this_version():
    """Raise `pixels.VERSION` with them, or values that were kept before are shown as if they were new."""
    assert (module.FITTED, module.SCORED, module.OF_A_PATCH, module.ROUNDS, pixels.VERSION) == (
        20_000,
        100_000,
        64,
        60,
        2,
    )
