"""What the control shares with source-only, and the one thing in which it differs."""

import torch

from methods import registry
from methods.base import Progress
from methods.source_only import SourceOnly
from methods.source_only_target_statistics import SourceOnlyTargetStatistics


def test_the_weights_are_those_of_source_only_and_the_statistics_lie_between(
    make_network, task, source, target, agrees
):
    control, plain = (kind(make_network(), task).train() for kind in (SourceOnlyTargetStatistics, SourceOnly))
    for method, batch in ((control, target), (plain, None)):
        optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
        sum(method.step_losses(source, batch, Progress(0, 1)).values()).backward()
        optimizer.step()
    theirs, mine = dict(plain.named_parameters()), dict(control.named_parameters())
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    first = control.network.model.encoder["layer1"]
    with torch.no_grad():  # with weights from before the step
        start = make_network().model.encoder["layer1"][0]
        means = [start((images - 128) / 64).mean((0, 2, 3)) for images in (source.images, target.images)]
    expected = 0.9 * 0.1 * means[0] + 0.1 * means[1]  # momentum 0.1, from 0
    agrees("source-only-target-statistics", "stored means", first[1].running_mean, expected, rtol=1e-4, atol=1e-8)


def test_it_is_the_only_control_of_its_kind():
    found = [name for name, method in registry.available().items() if method.is_target_control]
    assert found == ["source-only-target-statistics"]

    class Heir(SourceOnlyTargetStatistics):
        pass

    assert not Heir.is_target_control and not SourceOnlyTargetStatistics.is_control
