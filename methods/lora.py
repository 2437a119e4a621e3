"""Low-rank adaptation of a frozen encoder (LoRA)."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from methods.base import tunable
from methods.parts.frozen_encoder import FrozenEncoder
from methods.parts.low_rank import LowRank, change_weight, matrix_of, mixing_layers, rank_for


class LoRA(FrozenEncoder):
    """Learn a change of low rank of the weights of a frozen encoder (Hu et al., ICLR 2022).

    A layer computes with ``W + scale * B A``, where W (outputs, inputs) stays and B (outputs, rank) and A (rank,
    inputs) are trained; B starts at 0, so that the network starts as it is. ``L = CE(source)``, which trains the
    decoder and the head, too. The paper's factor is alpha / rank, and ``scale`` is all of it.

    Changed are all layers that mix channels: of a ViT the linear layers of attention and MLP and the embedding of
    patches, of other encoders the linear layers and the ungrouped convolutions, whose weight is taken as a matrix of
    outputs by inputs and pixels of the kernel. The paper changes queries and values alone, which a ViT of timm has in
    one layer with the keys; later work needed all linear layers to be as good as the training of all weights (Dettmers
    et al., NeurIPS 2023). Depthwise convolutions, whose matrices are small, and normalisation stay.

    Departures: no dropout before A. The encoder is in eval mode, without its own dropout and stochastic depth. The sum
    ``W + scale * B A`` is made in each pass and kept for the backward pass, whatever the size of the batch.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        rank: int = tunable(8, low=1, high=64, log=True)
        scale: float = tunable(1.0, low=0.1, high=10.0, log=True)

    def add(self) -> None:
        for layer in mixing_layers(self.network.model.encoder).values():
            outputs, inputs = matrix_of(layer).shape
            rank = rank_for(layer, self.hyperparameters.rank)
            down = nn.init.kaiming_uniform_(torch.empty(rank, inputs), a=math.sqrt(5))
            change_weight(layer, LowRank(down, torch.zeros(outputs, rank), self.hyperparameters.scale))
