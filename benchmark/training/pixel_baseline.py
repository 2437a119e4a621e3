"""A baseline that sees single pixels: what a classifier of their values alone reaches on each fold.

It is no method and in no test: a line to read the table by. A network below it has not learned what a pixel's colour
says. The test is read for scoring only, after it is fitted.
"""

import numpy as np
from numpy.typing import NDArray

from benchmark.data.classes import IGNORE
from benchmark.training.fold_data import FoldData, Part
from benchmark.training.prediction import Confusion, miou
from methods.parts.randomness import numpy_generator

FITTED, SCORED = 20_000, 100_000  # pixels, at most
OF_A_PATCH = 64  # pixels at least: a patch takes long to read
ROUNDS = 60  # of boosting


def pixel_baseline(data: FoldData) -> Confusion:
    """Fit gradient boosting on labelled pixels of ``source_train``, and count its predictions on ``target_test``.

    The pixels are a fixed sample: equally many of each source domain, and the same of every patch of the test.

    Returns:
        (C + 1, C) confusion matrix of the sampled pixels of the test that have a label.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second to import

    classes = len(data.task.classes)
    matrix = np.zeros((classes + 1, classes), dtype=np.int64)
    source = data.parts["source_train"]
    domains = np.unique(source.domains)
    samples = [
        _pixels(data, source.take(np.flatnonzero(source.domains == name)), FITTED // len(domains), name)
        for name in domains
    ]
    values, labels = (np.concatenate(arrays) for arrays in zip(*samples, strict=True))
    if not len(labels):
        return matrix
    one = len(np.unique(labels)) == 1  # a class that needs no model
    model = HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=0)
    fitted = None if one else model.fit(values, labels)
    seen, truth = _pixels(data, data.parts["target_test"], SCORED, "test")
    if len(truth):
        predicted = np.full(len(truth), labels[0]) if fitted is None else fitted.predict(seen)
        np.add.at(matrix, (truth, predicted), 1)
    return matrix


def pixel_miou(data: FoldData) -> float:
    """Return the mean IoU of the per-pixel baseline on a fold's test.

    NaN where the test has no labelled pixel, or a class that the sample of its pixels lacks: the mean would be over
    fewer classes than that of a method, which is scored on all pixels.
    """
    matrix = pixel_baseline(data)
    occurs = data.store.class_counts(data.parts["target_test"].rows)[:, :-1].sum(0) > 0
    return miou(matrix) if (matrix[:-1].sum(1) > 0)[occurs].all() else float("nan")


def _pixels(data: FoldData, part: Part, count: int, purpose: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return raw values (n, bands) and labels (n,) of about ``count`` pixels, of those that have a label."""
    random = numpy_generator("pixel-baseline", purpose)
    each = min(data.store.size**2, max(OF_A_PATCH, -(-count // max(len(part.rows), 1))))
    rows = random.permutation(part.rows)[: -(-count // each)]
    labels = data.store.labels_of(rows)
    values, truth = [np.empty((0, len(data.task.bands)), np.float32)], [np.empty(0, np.int64)]
    for start in range(0, len(rows), 64):
        some = rows[start : start + 64]
        where = np.stack([random.choice(data.store.size**2, each, replace=False) for _ in some])
        images = data.store.read(some).reshape(len(some), len(data.task.bands), -1)
        values.append(np.take_along_axis(images, where[:, None], 2).swapaxes(1, 2).reshape(-1, images.shape[1]))
        truth.append(np.take_along_axis(labels.read(some).reshape(len(some), -1), where, 1).ravel().astype(np.int64))
    valid = np.concatenate(truth) != IGNORE
    return np.concatenate(values)[valid].astype(np.float32), np.concatenate(truth)[valid]
