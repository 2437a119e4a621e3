"""Class-balanced self-training that is kept from growing too sure (CRST)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import IGNORE, TargetBatch, choice, tunable
from methods.class_balanced_self_training import ClassBalancedSelfTraining
from methods.parts.pseudo_labels import balanced_labels

SMALLEST = 1e-12  # a probability, before its logarithm is taken


class CRST(ClassBalancedSelfTraining):
    """Regularise the confidence of class-balanced self-training (Zou et al., ICCV 2019, "CRST").

    Pseudo-labels are selected with the thresholds t_c of `class-balanced-self-training`; wrong ones among them do less
    harm where the network is not pushed to full certainty. With ``regularizer=mrkld`` the loss on a selected pixel of
    label y is ``-log p_y - kld_weight * (1 / C) sum_c log p_c``: the second term is the Kullback-Leibler divergence of
    p from the uniform distribution, but for a constant. With ``regularizer=lrent`` the label itself is soft, ``y_c``
    proportional to ``(p_c / t_c)^(1 / temperature)`` with the teacher's p, and the loss is ``-sum_c y_c log p_c``. The
    rule of the paper, which selects by the same cost that the label minimises, then is
    ``sum_c (p_c / t_c)^(1 / temperature) > 1``; as the temperature goes to 0, label and rule become those of the hard
    ones.

    Departures: those of `class-balanced-self-training`. The paper's other two regularisers of the model (entropy and
    squares) and the use of soft labels together with ``mrkld`` are left out: it finds the two here best.
    Target images pass in training mode, which moves batch-norm statistics too, as in most published codes.
    """

    @dataclass(frozen=True)
    class Hyperparameters(ClassBalancedSelfTraining.Hyperparameters):
        regularizer: str = choice("mrkld", ("mrkld", "lrent"))
        kld_weight: float = tunable(0.1, low=0.01, high=1.0, log=True)  # of mrkld
        temperature: float = tunable(0.25, low=0.05, high=1.0, log=True)  # of lrent

    def target_loss(self, target: TargetBatch, share: float) -> Tensor:
        probabilities, options = self.judge(target, share), self.hyperparameters
        if options.regularizer == "mrkld":
            wanted, kld_weight = hard_labels(probabilities, self.thresholds), options.kld_weight
        else:
            wanted, kld_weight = soft_labels(probabilities, self.thresholds, options.temperature), 0.0
        return regularized_loss(self.network(target).float(), wanted, kld_weight)


def regularized_loss(logits: Tensor, wanted: Tensor, kld_weight: float) -> Tensor:
    """Return the cross-entropy with the labels and the weighted divergence, averaged over selected pixels.

    Args:
        logits: (N, C, H, W).
        wanted: (N, C, H, W), labels of sum 1 over the classes, or 0 where a pixel is not selected.
        kld_weight: weight of the divergence from the uniform distribution.
    """
    log_probabilities = logits.log_softmax(1)
    selected = wanted.sum(1) > 0
    errors = -(wanted * log_probabilities).sum(1) - kld_weight * selected * log_probabilities.mean(1)
    return errors.sum() / selected.sum().clamp(min=1)


def hard_labels(probabilities: Tensor, thresholds: Tensor) -> Tensor:
    """Return `balanced_labels` as one-hot maps (N, C, H, W) float32, 0 where none is selected."""
    labels, classes = balanced_labels(probabilities, thresholds), len(thresholds)
    known = F.one_hot(labels.where(labels != IGNORE, classes), classes + 1)[..., :classes]
    return known.movedim(-1, 1).to(probabilities)


def soft_labels(probabilities: Tensor, thresholds: Tensor, temperature: float) -> Tensor:
    """Return labels softened by their entropy, 0 where none is selected (Zou et al., 2019, LRENT).

    They minimise ``sum_c y_c (log t_c - log p_c) + temperature * sum_c y_c log y_c``, whose minimum is
    ``-temperature * log sum_c (p_c / t_c)^(1 / temperature)``; not to select a pixel costs 0.

    Args:
        probabilities: (N, C, H, W).
        thresholds: (C,), above 0.
    """
    excess = (probabilities.clamp(min=SMALLEST) / thresholds.view(-1, 1, 1)).log() / temperature
    is_selected = torch.logsumexp(excess, 1, keepdim=True) > 0
    return excess.softmax(1) * is_selected
