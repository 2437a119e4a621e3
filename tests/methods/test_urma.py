"""The three terms by hand; what is frozen; that predictions depend less on single channels."""

import torch
from torch.nn import functional as F

from methods.base import IGNORE, Progress
from methods.parts.head import classifier, pass_with_features
from methods.urma import URMA

NOW = Progress(0, 1)


def _method(network, task, **values):
    torch.manual_seed(0)
    return URMA(network, task, URMA.Hyperparameters(**values))


def _unsure(method, features):
    torch.manual_seed(2)
    return [each(F.dropout2d(features)) for each in method.classifiers]


def test_the_terms_are_those_of_the_paper(network, task, target, agrees):
    network.eval()
    method = _method(network, task, classifiers=2, momentum=0.0, share=0.3)
    torch.manual_seed(2)
    losses = method.step_losses(None, target, NOW)
    logits, features, _ = pass_with_features(network, target)
    p = logits.softmax(1)
    coarse = classifier(network)(features).softmax(1)
    uncertainty = sum(((q.softmax(1) - coarse) ** 2).mean() for q in _unsure(method, features))
    entropy = -(p * p.log2()).sum(1).mean() / torch.tensor(3.0).log2()
    chosen, names = [], p.argmax(1)
    for name in range(3):
        sure = p.amax(1)[names == name].sort(descending=True).values
        threshold = sure[int(0.3 * len(sure)) - 1] if int(0.3 * len(sure)) else torch.tensor(1.0)
        chosen.append(p[:, name] / threshold)
    ratio, labels = torch.stack(chosen, 1).max(1)
    expected = (-p.gather(1, labels[:, None])[:, 0].log()[ratio >= 1].mean(), entropy, 0.1 * uncertainty)
    found = [losses[name] for name in ("pseudo_labels", "entropy", "uncertainty")]
    quantity = "pseudo-label, entropy and uncertainty loss"
    agrees("urma", quantity, torch.stack(found), torch.stack(expected), rtol=1e-4)
    encoder = network.model.encoder["layer1"][0].weight
    alone = sum(((q.softmax(1) - coarse.detach()) ** 2).mean() for q in _unsure(method, features))
    slopes = [torch.autograd.grad(loss, encoder, retain_graph=True)[0] for loss in (losses["uncertainty"], alone)]
    torch.testing.assert_close(slopes[0], 0.1 * slopes[1], rtol=1e-4, atol=1e-9)


def test_the_head_stands_still_and_new_classifiers_learn_faster(network, task, target):
    method = _method(network, task)
    sum(method.step_losses(None, target, NOW).values()).backward()
    assert all(weights.grad is None for weights in network.model.segmentation_head.parameters())
    assert all(weights.grad is None for weights in method.source_model.parameters())
    assert all(weights.grad.abs().sum() > 0 for weights in network.model.encoder.parameters())
    first, second = method.optimizer().param_groups
    assert first["lr"] * 10 == second["lr"] and second["params"] == list(method.classifiers.parameters())
    weights = [each.weight for each in (*method.classifiers, classifier(network))]
    assert not any(torch.equal(one, other) for k, one in enumerate(weights) for other in weights[:k])


def test_labels_are_those_of_the_source_model_and_of_a_share_of_each_class(network, task, target):
    method = _method(network, task, share=0.25, momentum=0.0)
    predicted = network.eval()(target).argmax(1)
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()  # what has been learned since then does not count
    labels = method.labels(target)
    for name in (predicted.flatten().bincount() > 100).nonzero().flatten().tolist():
        assert (labels != IGNORE)[predicted == name].float().mean() >= 0.24, name
    assert (labels == IGNORE).float().mean() > 0.5


def test_predictions_depend_less_on_single_channels(network, task, target):
    """By a classifier that is trained on half of them, with and without the encoder's learning from it."""
    start = {name: value.clone() for name, value in network.state_dict().items()}

    def gap(encoder_learns):
        network.load_state_dict(start)
        method = _method(network, task, entropy=0.0)
        method.labels = lambda batch: torch.full((4, 32, 32), IGNORE)
        network.model.encoder.requires_grad_(encoder_learns)
        weights = [each for each in method.parameters() if each.requires_grad]
        optimizer = torch.optim.Adam(weights, 1e-2)
        found = []
        for step in range(80):
            torch.manual_seed(step)
            optimizer.zero_grad()
            loss = method.step_losses(None, target, Progress(step, 80))["uncertainty"]
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return sum(found[-20:])

    assert gap(True) < 0.7 * gap(False)


def test_one_image_of_an_odd_size_under_autocast(network, task, one_odd_image):
    with torch.autocast("cpu", torch.bfloat16):
        losses = _method(network, task).step_losses(None, one_odd_image[1], NOW)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
