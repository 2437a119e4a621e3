"""The losses of both methods that it joins, and one teacher for all of them; the parts have tests of their own."""

import torch

from methods.base import Progress
from methods.dacs_masked import DACSMasked
from methods.daformer import DAFormer
from methods.daformer_masked import DAFormerMasked

STEP = Progress(3, 10)


def test_the_losses_are_those_of_both_methods_by_one_pass_of_one_teacher(make_network, task, source, target, agrees):
    joined, taught = DAFormerMasked(make_network(), task, DAFormerMasked.Hyperparameters(confidence=0.4)), []
    joined.teacher.register_forward_pre_hook(lambda teacher, inputs: taught.append(inputs[0]))
    apart = [kind(make_network(), task, kind.Hyperparameters(confidence=0.4)) for kind in (DAFormer, DACSMasked)]
    for method in apart:
        method.generator = joined.generator
    with torch.no_grad():
        for method in (joined, *apart):
            method.network.model.encoder["layer2"][1].bias += 0.5
    losses = joined.step_losses(source, target, STEP)
    assert len(taught) == 1 and taught[0] is target
    for method in apart:
        method.progress = STEP
        expected = method.step_losses(source, target, STEP)
        names = sorted(set(expected) - {"segmentation"})
        quantity = f"losses of {type(method).__name__}: {', '.join(names)}"
        found, reference = (torch.stack([each[name] for name in names]) for each in (losses, expected))
        agrees("daformer-masked", quantity, found, reference, rtol=1e-6)
        assert (reference > 0).any()
    assert set(losses) == {"segmentation", "mixed", "masked"}


def test_its_hyperparameters_are_those_of_both(network, task):
    options = DAFormerMasked(network, task).hyperparameters
    assert (options.rare_classes, options.masked_weight, options.distance_weight) == (True, 1.0, 0.005)
