"""Held against transcribed official steps (mr-eggplant/EATA, eata.py); which pixels teach, what is not forgotten."""

import math

import torch

from methods.base import TargetBatch, Task
from methods.eata import EATA
from methods.parts.entropy import entropy
from methods.parts.metadata import Metadata

FIVE = Task(classes=("a", "b", "c", "d", "e"), bands=("red", "green", "blue"))

# forward_and_adapt_eata on rows of pixels over the batches of the fixture "tent": margin 0.8 ln 5, cosine 0.97, SGD
# with 0.05 and momentum 0.9, fisher_alpha 2 and the Fisher information, computed as in main.py, of the batches so far,
# of two at most. After each batch scales and shifts, and the moving average. (44, 5 and 5 of 128 pixels are used.)
OFFICIAL = "mr-eggplant/EATA@3b64ddf, its steps transcribed"
# fmt: off
WEIGHTS = [
    [1.2987099885940552, 1.1528310775756836, 0.9351972937583923, 0.7478601336479187,
     0.0692298635840416, -0.1269298493862152, -0.26339247822761536, -0.2771846354007721],
    [1.328839898109436, 1.1941808462142944, 0.9698545336723328, 0.7574316263198853,
     0.11078210920095444, -0.05166758596897125, -0.18998120725154877, -0.2460346221923828],
    [1.3621598482131958, 1.2458022832870483, 1.0168339014053345, 0.7736782431602478,
     0.16591137647628784, 0.05950833484530449, -0.07564360648393631, -0.19664983451366425],
]
AVERAGES = [
    [0.0027468244079500437, 0.7928779125213623, 0.00964656937867403, 0.13503220677375793, 0.0596965067088604],
    [0.003270244924351573, 0.767539918422699, 0.011322545818984509, 0.14881913363933563, 0.06904814392328262],
    [0.0039040683768689632, 0.7416931390762329, 0.013645321130752563, 0.158223494887352, 0.08253393322229385],
]
FISHER = [0.00453219236806035, 0.003605167381465435, 0.0027546491473913193, 7.7920536568854e-05,
          0.038408100605010986, 0.011336126364767551, 0.015493374317884445, 0.00010551486775511876]
# fmt: on


def eata(network, task, **values):
    return EATA(network, task, EATA.Hyperparameters(**values)).eval()


def affine(method):
    return torch.cat([weights.detach().flatten() for weights in method.affine])


def test_three_batches_equal_the_official_run(fixture_values, official_network, official_batches, agrees):
    settings = {"margin": 0.8, "redundancy": 0.97, "fisher_weight": 2.0, "fisher_batches": 2}
    method = eata(official_network(), FIVE, learning_rate=0.05, **settings)
    weights, averages = [], []
    for batch in official_batches(fixture_values("tent")):
        method.adapt(batch)
        weights.append(affine(method))
        averages.append(method.average.clone())
    quantity = "scales and shifts after each of three batches"
    agrees("eata", quantity, torch.stack(weights), WEIGHTS, OFFICIAL, rtol=1e-5, atol=1e-6)
    quantity = "moving average of probabilities after each of three batches"
    agrees("eata", quantity, torch.stack(averages), AVERAGES, OFFICIAL, rtol=1e-5, atol=1e-6)
    agrees("eata", "Fisher information of two batches", method.fisher, FISHER, OFFICIAL, rtol=1e-4, atol=1e-7)


def test_pixels_that_are_uncertain_or_like_the_average_teach_nothing(network, task, target):
    seen = []
    average = torch.tensor([0.8, 0.1, 0.1])
    logits = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cosine = torch.cosine_similarity(logits.detach().softmax(1), average.view(1, 3, 1, 1), dim=1)
    method = eata(network, task, margin=0.8, redundancy=cosine.median().item(), learning_rate=0.0)
    method.average.copy_(average)
    method.predict = lambda batch: logits + 0 * method.affine[0].sum()
    method.measured.fill_(99)
    logits.register_hook(lambda slope: seen.append(slope))
    method.adapt(target)
    used = seen[0].abs().sum(1) > 0
    certain, new = entropy(logits.detach()) < 0.8 * math.log(3), cosine < cosine.median()
    assert torch.equal(used, certain & new)
    assert all(0.05 < share.float().mean() < 0.95 for share in (used, certain & ~new, new & ~certain))


def test_where_no_pixel_is_left_nothing_moves(network, task, target):
    method = eata(network, task, margin=0.0, learning_rate=1.0)
    before = affine(method)
    method.adapt(target)
    assert torch.equal(affine(method), before) and method.average.isnan().all() and method.measured == 1


def test_what_the_source_depends_on_is_not_forgotten(make_network, task, target):
    """Twenty steps: with the Fisher term, the more important weights move less than without, compared to the others."""

    def drift(weight):
        method = eata(make_network(), task, margin=1.1, redundancy=1.1, learning_rate=0.01, fisher_weight=weight)
        for _ in range(20):
            method.adapt(target)
        important = method.fisher > method.fisher.median()
        moved = (affine(method) - method.start).abs()
        return moved[important].mean().item(), moved[~important].mean().item()

    (held, other), (free, other_free) = drift(10_000.0), drift(0.0)
    assert held < 0.5 * free and held / free < 0.7 * other / other_free


def test_the_fisher_information_is_the_sources_and_of_the_first_batches_alone(network, task, target):
    method = eata(network, task, learning_rate=0.1, margin=1.1, redundancy=1.1, fisher_batches=2)
    found = []
    for _ in range(4):
        method.adapt(target)
        found.append(method.fisher.clone())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-9, msg="the same batch at the same weights")
    assert torch.equal(found[1], found[3]) and method.measured == 2
    assert not torch.equal(affine(method), method.start)


def test_one_image_of_odd_size(network, task):
    images = torch.rand(1, 3, 31, 17, generator=torch.Generator().manual_seed(0)) * 255
    method = eata(network, task, margin=1.1)
    method.adapt(TargetBatch(images, Metadata.unknown(1)))
    assert method.predict(TargetBatch(images, Metadata.unknown(1))).isfinite().all()
