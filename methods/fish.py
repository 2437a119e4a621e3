"""Gradients of the source domains that point in one direction (Fish)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base import Method, Progress, SourceBatch, TargetBatch, tunable


class Fish(Method):
    """Find weights at which a step for one source domain is one for the others, too (Shi et al., ICLR 2022).

    From the weights w of now, an inner loop takes one step of plain gradient descent for each domain of the batch, in
    random order: ``w_k+1 = w_k - inner_rate * g_k(w_k)``, g_k the gradient of that domain's cross-entropy. Then w goes
    back, and takes the step of the optimiser along ``(w - w_K) / (inner_rate * K)``, the mean of the g_k(w_k). Over all
    orders that is ``mean of g_k - inner_rate / (2 K) * gradient of sum over pairs of g_i . g_j`` to first order: losses
    get smaller, and gradients of different domains more alike (Nichol et al., 2018, "Reptile").

    Departures: the official code steps by ``epsilon * (w_K - w)``, and its inner loop has Adam and a clone of the
    network. Here the outer step is that of the engine's optimiser, as for every method, and the inner loop has no
    momentum. A domain is seen in the images of it that the batch has, and each passes with the batch-norm statistics of
    its own images; what is stored of these follows all domains alike. So rate 0 is no plain training: it is the mean of
    the domains' gradients. All passes together are as large as one of the batch.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        inner_rate: float = tunable(1e-2, low=1e-4, high=1e-1, log=True)

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        weights = [each for each in self.network.parameters() if each.requires_grad]
        start = [each.detach().clone() for each in weights]
        slopes = [torch.zeros_like(each) for each in start]
        domains = torch.unique(source.domains)
        losses = []
        for domain in domains[torch.randperm(len(domains), generator=self.generator("order"))]:
            loss = self.segmentation_loss(images_of(source, (source.domains == domain).nonzero().flatten()))
            losses.append(loss.detach())
            found = self.gradients(loss, weights, retain_graph=False, allow_unused=True)
            with torch.no_grad():
                for weight, slope, gradient in zip(weights, slopes, found, strict=True):
                    if gradient is not None:
                        slope += gradient / len(domains)
                        weight -= self.hyperparameters.inner_rate * gradient
            torch.clear_autocast_cache()  # it holds copies of the weights before the step
        with torch.no_grad():
            for weight, before in zip(weights, start, strict=True):
                weight.copy_(before)
        # A loss of the mean value, linear in the weights, with the mean slope: the engine steps along it.
        steps = [((weight - weight.detach()) * slope).sum() for weight, slope in zip(weights, slopes, strict=True)]
        return {"segmentation": torch.stack(losses).mean() + torch.stack(steps).sum()}


def images_of(source: SourceBatch, rows: Tensor) -> SourceBatch:
    """Return some images of a batch, by their int64 positions (n,), without the way to their whole patches."""
    return replace(
        source,
        images=source.images[rows],
        labels=source.labels[rows],
        domains=source.domains[rows],
        metadata=source.metadata.take(rows),
        origin=None,
        series=source.series and source.series.take(rows),
    )
