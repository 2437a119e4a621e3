"""The valley against a search over all losses, and what is averaged in it."""

import random

import pytest
import torch
from torch import nn

from methods.base import Progress, TargetBatch
from methods.parts.metadata import Metadata
from methods.swad import SWAD

STEPS = 3  # between two validations
BATCH = TargetBatch(torch.zeros(1, 3, 2, 2), Metadata.unknown(1))


class OneWeight(nn.Module):
    """Predicts its only weight plus a tenth of its statistics."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("statistics", torch.zeros(()))

    def forward(self, batch):
        images = batch.images
        return (self.weight + self.statistics / 10).expand(len(images), 3, *images.shape[2:])


def _run(task, losses, **values):
    """Train with weight ``step ** 2`` after each step, and yield the prediction at each validation."""
    method = SWAD(OneWeight(), task, SWAD.Hyperparameters(**values))
    yield from _go_on(method, losses, 0)


def _go_on(method, losses, begin):
    for number, loss in enumerate(losses, begin):
        for step in range(number * STEPS, (number + 1) * STEPS):
            method.network.weight.data.fill_(step**2)
            method.network.statistics.fill_(10.0 * step)
            method.after_step(Progress(step, 1000))

        def loss_of(predict, loss=loss, last=step):
            assert predict(BATCH)[0, 0, 0, 0] == last**2 + last, "the loss is that of the plain network"
            return loss

        method.validate(loss_of, Progress(step + 1, 1000))
        yield method.predict(BATCH)[0, 0, 0, 0].item()


def _searched(losses, n_converge, n_tolerance, tolerance_ratio):
    """First and last of the averaged validations, or None; the paper's algorithm 1 over the whole list of losses."""
    for now in range(n_converge - 1, len(losses)):
        window = losses[now - n_converge + 1 : now + 1]
        if window[0] == min(window):
            break
    else:
        return None
    rim = (1 + tolerance_ratio) * sum(window) / n_converge
    first, last, above = now - n_converge + 1, now - 1, 0
    for then in range(now, len(losses)):
        if losses[then] <= rim:
            last, above = then, 0
        else:
            above += 1
        if above == n_tolerance:
            break
    return first, last


def _expected(found, count):
    steps = range(found[0] * STEPS, (found[1] + 1) * STEPS) if found else [count * STEPS - 1]
    return sum(step**2 + step for step in steps) / len(steps)


@pytest.mark.parametrize("n_converge", [2, 3, 4])
@pytest.mark.parametrize("n_tolerance", [2, 3])
def test_every_checkpoint_averages_the_valley_as_if_training_ended_there(task, n_converge, n_tolerance):
    draws = random.Random(n_converge * 10 + n_tolerance)
    begun = ended = 0
    for _ in range(20):
        losses = [draws.uniform(0.5, 2) for _ in range(14)]
        settings = {"n_converge": n_converge, "n_tolerance": n_tolerance, "tolerance_ratio": 0.1}
        for count, predicted in enumerate(_run(task, losses, **settings), 1):
            found = _searched(losses[:count], **settings)
            assert predicted == pytest.approx(_expected(found, count), rel=1e-5)
        begun += found is not None
        ended += found is not None and found[1] < 13
    assert begun > 10 and ended > 5, "so that the comparison sees beginnings and ends"


def test_a_valley_by_hand(task, agrees):
    # Falls to 1.0 at the third validation, which 1.1 and 1.2 do not undercut: rim 1.3 * 1.1 = 1.43. The 1.5 is above
    # it and let in later by the 1.4; after six above it in a row, the 1.0 comes too late.
    losses = [3, 2, 1.0, 1.1, 1.2, 1.5, 1.4, *[1.5] * 6, 1.0]
    last = {5: 4, 6: 4}
    valleys = [(2, last.get(count, 6)) if count >= 5 else None for count in range(1, 15)]
    expected = [_expected(valley, count) for count, valley in enumerate(valleys, 1)]
    agrees("swad", "prediction at each of fourteen validations", list(_run(task, losses)), expected, rtol=1e-5)


@pytest.mark.parametrize(("loss", "tolerance_ratio"), [(0.1, 0.3), (0.5, 0.0)])
def test_equal_losses_are_a_valley(task, loss, tolerance_ratio):
    predictions = list(_run(task, [loss] * 4, tolerance_ratio=tolerance_ratio))
    assert predictions[3] == pytest.approx(_expected((0, 3), 4), rel=1e-5)


def test_a_loss_that_keeps_falling_leaves_the_plain_network(task):
    predictions = list(_run(task, [1 / (k + 1) for k in range(8)]))
    assert predictions == [_expected(None, count) for count in range(1, 9)]


@pytest.mark.parametrize("cut", [1, 3, 4, 6, 8])
def test_an_interruption_changes_nothing(task, cut):
    losses = [3, 1, 1.1, 1.2, 1.9, 1.2, 1.9, 1.9, 1.1]
    whole = list(_run(task, losses, n_tolerance=2))
    method = SWAD(OneWeight(), task, SWAD.Hyperparameters(n_tolerance=2))
    parts = list(_go_on(method, losses[:cut], 0))
    resumed = SWAD(OneWeight(), task, SWAD.Hyperparameters(n_tolerance=2))
    resumed.load_state_dict(method.state_dict())
    assert parts + list(_go_on(resumed, losses[cut:], cut)) == whole


def test_only_the_network_is_trained_and_its_counts_are_left(network, task, source, target):
    method = SWAD(network, task, SWAD.Hyperparameters(n_converge=2))
    for step in range(2):
        method.step_losses(source, None, Progress(step, 2))["segmentation"].backward()
        method.after_step(Progress(step, 2))
        method.validate(lambda predict: 1.0, Progress(step + 1, 2))
    trained = [name for name, parameter in method.named_parameters() if parameter.requires_grad]
    assert trained and all(name.startswith("network.") for name in trained)
    assert all(parameter.grad is None for parameter in method.valley.parameters())
    torch.testing.assert_close(method.eval().predict(target), method.valley(target))
    assert method.valley.stages["stage1"][1].num_batches_tracked == 0
