"""Adaptation of the minor singular components of a frozen encoder (SoMA)."""

from dataclasses import dataclass

import torch

from methods.base import tunable
from methods.parts.frozen_encoder import FrozenEncoder
from methods.parts.low_rank import LowRank, change_weight, matrix_of, mixing_layers, rank_for


class SoMA(FrozenEncoder):
    """Train the smallest singular components of the weights of a frozen encoder (Yun et al., CVPR 2025).

    Of ``W = U S V^T`` the components with the ``rank`` smallest singular values are trained, as ``B = U_r S_r^(1/2)``
    and ``A = S_r^(1/2) V_r^T``, and the rest, ``W - B A``, which holds what the encoder knows of images in general,
    stays. A layer computes with ``(W - B A) + B A``, and so the network starts as it is, to rounding. The shallowest
    layers, which see what is common to all domains, stay whole. ``L = CE(source)``, which trains the decoder and the
    head, too.

    Layers are those of LoRA: linear ones and ungrouped convolutions, as matrices. Departures: the paper lets the first
    blocks of a ViT stay; here it is a share of all these layers, in their order. The paper lowers the weight decay of A
    and B to 0 over the training; here it is the recipe's, as of all weights. At most half of a layer's components are
    trained, since small encoders have layers of less than twice the rank.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        rank: int = tunable(16, low=1, high=64, log=True)
        shallow: float = tunable(1 / 3, low=0.0, high=0.9)  # share of the layers that stay whole

    def add(self) -> None:
        layers = list(mixing_layers(self.network.model.encoder).values())
        whole = min(int(self.hyperparameters.shallow * len(layers)), len(layers) - 1)
        for layer in layers[whole:]:
            matrix = matrix_of(layer)
            down, up = minor_components(matrix, rank_for(layer, min(self.hyperparameters.rank, min(matrix.shape) // 2)))
            layer.weight.sub_((up @ down).view_as(layer.weight))
            change_weight(layer, LowRank(down, up))


def minor_components(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (rank, inputs) and B (outputs, rank), whose product is the part with the smallest singular values.

    Args:
        matrix: (outputs, inputs) float32.
        rank: at most the smaller side of the matrix.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[-rank:].sqrt()
    return root[:, None] * right[-rank:], left[:, -rank:] * root
