"""Confusion matrices and what is computed from them, against scikit-learn and by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from benchmark.training import prediction as evaluation
from benchmark.training.arrival import arrival
from benchmark.training.prediction import (
    evaluate,
    evaluate_stream,
    f1,
    iou,
    miou,
    miou_flair_challenge,
    miou_flair_main,
    overall_accuracy,
    stream_metrics,
)


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


def test_a_class_without_truth_does_not_count_however_much_is_predicted_as_it():
    """One pixel in a million that is taken for an absent class moves mean IoU by a millionth, not by a third."""
    without = np.array([[900_000, 0, 0], [0, 100_000, 0], [0, 0, 0], [0, 0, 0]])
    once = np.array([[899_999, 0, 1], [0, 100_000, 0], [0, 0, 0], [0, 0, 0]])
    assert miou(without) == f1(without) == 1
    assert miou(once) == pytest.approx((899_999 / 900_000 + 1) / 2) and np.isnan(iou(once)[2])
    assert f1(once) == pytest.approx((2 * 899_999 / 1_799_999 + 1) / 2)
    assert miou_flair_main(once) == miou_flair_challenge(once) == pytest.approx(2 / 3, abs=1e-5), "as IGN's code has it"


def test_nothing_valid_gives_nan():
    confusion = np.array([[0, 0], [0, 0], [3, 1]])
    assert np.isnan([miou(confusion), overall_accuracy(confusion), f1(confusion)]).all()


def _by_brightness(batch):
    """The brightness of the first band says the class."""
    classes = 12
    choice = (batch.images[:, 0].long() % classes).unsqueeze(1)
    return torch.zeros(len(batch.images), classes, *batch.images.shape[-2:]).scatter_(1, choice, 5.0)


def test_large_patches_are_predicted_in_smaller_batches(data, monkeypatch):
    sizes, fabric, part = [], Fabric(accelerator="cpu", devices=1), data.parts["source_train"]
    data = replace(data, parts={"five": part.take(np.arange(5) % len(part.rows))})

    def predict(batch):
        sizes.append(len(batch.images))
        return _by_brightness(batch)

    whole = evaluate(fabric, predict, data, "five")
    monkeypatch.setattr(evaluation, "PIXELS_AT_ONCE", 2 * data.store.size**2)
    again = evaluate(fabric, predict, data, "five")
    assert sizes == [5, 2, 2, 1]
    assert all(np.array_equal(again.confusions[zone], whole.confusions[zone]) for zone in whole.confusions)


def test_evaluation_counts_every_pixel_once_by_zone(data):
    part, classes = data.parts["target_test"], len(data.task.classes)
    labels = data.store.labels_of(part.rows)

    kept = part.rows[[0, -1]].tolist()
    scores = evaluate(Fabric(accelerator="cpu", devices=1), _by_brightness, data, "target_test", 3, kept)
    assert list(scores.kept) == kept
    assert np.array_equal(scores.kept[kept[1]], data.store.read(part.rows[[-1]])[0, 0] % classes)
    assert set(scores.confusions) == set(part.zones)
    for zone, confusion in scores.confusions.items():
        rows = part.rows[part.zones == zone]
        truth, predicted = labels.read(rows).ravel(), (data.store.read(rows)[:, 0] % classes).ravel()
        valid = truth != 255
        expected = confusion_matrix(truth[valid], predicted[valid], labels=range(classes))
        np.testing.assert_array_equal(confusion[:-1], expected)
        np.testing.assert_array_equal(confusion[-1], np.bincount(predicted[~valid], minlength=classes))
    assert scores.total().sum() == labels.read(part.rows).size


def test_the_tiny_world_has_pixels_of_no_class_and_a_class_that_only_one_place_has(data):
    """Else the tests that count over it could not tell who counts too much."""
    part, classes = data.parts["target_test"], len(data.task.classes)
    truth = data.store.labels_of(part.rows).read(part.rows)
    assert all((mask == 255).any() and (mask != 255).any() for mask in truth)
    present = {domain: set(np.unique(truth[part.domains == domain])) - {255} for domain in set(part.domains)}
    one, other = present.values()
    assert one - other and other - one and one | other < set(range(classes)), "and a class that there is not at all"


def test_pixels_of_no_class_move_no_metric_whatever_is_predicted_there(data):
    """A prediction that is right wherever there is a class, and the absent class elsewhere, is perfect."""
    part, classes = data.parts["target_test"], len(data.task.classes)
    truth = torch.from_numpy(data.store.labels_of(part.rows).read(part.rows)).long()
    absent = min(set(range(classes)) - set(truth.unique().tolist()))
    shown = iter(torch.nn.functional.one_hot(torch.where(truth == 255, absent, truth), classes).split(3))

    def predict(batch):
        return 50.0 * next(shown).permute(0, 3, 1, 2)

    scores = evaluate(Fabric(accelerator="cpu", devices=1), predict, data, "target_test", 3)
    total = scores.total()
    assert miou(total) == overall_accuracy(total) == f1(total) == 1 and scores.loss == pytest.approx(0, abs=1e-6)
    assert total[-1].sum() == total[-1, absent] == (truth == 255).sum().item()
    assert np.isnan(iou(total)[absent]) and miou_flair_challenge(total) < 1 and miou_flair_main(total) < 1


def test_a_stream_comes_once_in_the_order_of_date_and_zone(data):
    part, seen = data.parts["target_test"], []
    evaluate_stream(
        Fabric(accelerator="cpu", devices=1), _by_brightness, lambda batch: seen.append(batch.images), data,
        "target_test", 3,
    )  # fmt: skip
    (order,) = arrival(part)
    assert [len(images) for images in seen][:-1] == [3] * (len(seen) - 1)
    assert np.array_equal(torch.cat(seen).numpy(), data.store.read(part.rows[order]))
    days = [getattr(part.metadata, name).numpy()[order] for name in ("year", "month", "day")]
    arrived = list(zip(*days, part.zones[order], strict=True))
    assert arrived == sorted(arrived) and sorted(order) == list(range(len(part.rows)))


def test_what_is_predicted_before_and_after_learning_is_not_confused(data):
    """A method that knows only how often it has learned says so: the first batch is predicted as class 0, then 1."""
    classes, learned = len(data.task.classes), []

    def predict(batch):
        logits = torch.zeros(len(batch.images), classes, *batch.images.shape[-2:])
        logits[:, len(learned)] = 1
        return logits

    fabric = Fabric(accelerator="cpu", devices=1)
    scores = evaluate_stream(fabric, predict, learned.append, data, "target_test", 2)
    before, after = scores.before, scores.after
    patches, pixels = len(data.parts["target_test"].rows), data.store.size**2
    batches = [min(2, patches - start) * pixels for start in range(0, patches, 2)]
    assert before.total().sum(0).tolist()[: len(batches) + 1] == [*batches, 0]
    assert after.total().sum(0).tolist()[: len(batches) + 1] == [0, *batches]
    assert not scores.rounds and scores.kept is None and "stream_round/forgotten" not in stream_metrics(scores)


def test_each_round_is_scored_and_the_first_one_again_at_the_end(data):
    """A method that knows the truth of what it has learned from, and forgets all in the last batch."""
    classes, part, known, learned = len(data.task.classes), data.parts["target_test"], {}, []
    rounds = np.array_split(np.arange(len(part.rows)), 2)
    truth = torch.from_numpy(data.store.labels_of(part.rows).read(part.rows)).long()
    images = torch.from_numpy(data.store.read(part.rows)).float()

    def predict(batch):
        logits = torch.zeros(len(batch.images), classes, *batch.images.shape[-2:])
        logits[:, -1] = 1
        for place, image in enumerate(batch.images):
            key = image.sum().item()
            if key in known:
                logits[place] = 9 * torch.nn.functional.one_hot(known[key], classes).permute(2, 0, 1)
        return logits

    def adapt(batch):
        learned.append(len(batch.images))
        for image in batch.images:
            (place,) = [number for number in range(len(images)) if torch.equal(images[number], image)]
            known[image.sum().item()] = truth[place].clamp(max=classes - 1)
        if sum(learned) == len(images):
            known.clear()

    fabric = Fabric(accelerator="cpu", devices=1)
    scores = evaluate_stream(fabric, predict, adapt, data, "target_test", 3, rounds=rounds)
    sizes = [len(order) for order in rounds]
    assert learned == [min(3, size - start) for size in sizes for start in range(0, size, 3)], "no batch of two rounds"
    assert [each.total().sum() for each in scores.rounds] == [size * data.store.size**2 for size in sizes]
    assert np.array_equal(sum(each.total() for each in scores.rounds), scores.before.total())
    metrics = stream_metrics(scores)
    assert [metrics[f"stream_round/{number}/miou"] for number in (1, 2)] == [
        miou(each.total()) for each in scores.rounds
    ]
    learned_once, end = (miou(each.total()) for each in scores.kept)
    assert learned_once == 1 and end == metrics["stream_round/1/miou"] < 0.5, "it knows nothing of them any more"
    assert metrics["stream_round/forgotten"] == 1 - end


def test_what_was_learned_is_predicted_with_under_mixed_precision_too(data):
    """Autocast would go on with the 16-bit weights of before."""
    network = torch.nn.Conv2d(5, len(data.task.classes), 1)

    def adapt(batch):
        network(batch.images)
        with torch.no_grad():
            network.weight.neg_()
            network.bias.neg_()

    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    scores = evaluate_stream(fabric, lambda batch: network(batch.images), adapt, data, "target_test", 2)
    assert not np.array_equal(scores.before.total(), scores.after.total())
