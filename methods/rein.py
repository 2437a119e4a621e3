"""Refinement of the features of a frozen encoder by learnable tokens (Rein)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from methods.base import MethodError, tunable
from methods.parts.feature_size import residual_stages
from methods.parts.frozen_encoder import FrozenEncoder

PATCH = 16  # pixels; the side of a ViT's patches, from which the paper's code takes the spread of the first tokens


class Rein(FrozenEncoder):
    """Refine the features between the layers of a frozen encoder by what they resemble (Wei et al., CVPR 2024).

    A layer's features f (n, D) become ``f + (S' (T' W + b) + f) V + c`` with ``S = softmax(f T^T / sqrt(D))``: T (m, D)
    are learnable tokens, the product of (m, rank) and (rank, D); S' and T' are S and T without the first token, so that
    a feature may resemble none of those that change it. W and V (D, D) with b and c are shared by layers of one width.
    V and c start at 0 (an option of the authors' code), so that the network starts as it is. ``L = CE(source)``, which
    trains the decoder and the head, too.

    Refined is what leaves each block of a plain ViT, but its class token and registers, as in the paper. Of other
    encoders it is what leaves each stage from a quarter of the image's side on, and since their widths differ, W and V
    are those of one stage. Departures: the tokens make no queries of a decoder, since the decoders here have none.
    """

    @dataclass(frozen=True)
    class Hyperparameters:
        tokens: int = tunable(100, low=10, high=200)
        rank: int = tunable(16, low=4, high=64, log=True)

    def add(self) -> None:
        options, prefix, changes = self.hyperparameters, 0, dict[int, SharedLayers]()
        encoder: Any = getattr(self.network.model.encoder, "model", None)
        if self.network.stages:
            widths = residual_stages(self.network, len(self.task.bands))
            layers = [(self.network.stages[name], width) for name, width in widths.items()]
        elif hasattr(encoder, "blocks") and hasattr(encoder, "num_prefix_tokens"):
            layers, prefix = [(block, encoder.embed_dim) for block in encoder.blocks], encoder.num_prefix_tokens
        else:
            raise MethodError(
                "Rein needs a ViT, or an encoder whose stages are known: a ResNet, an MiT, a ConvNeXt, an EfficientNet"
            )
        refinements = nn.ModuleList()
        for layer, width in layers:
            change = changes.setdefault(width, SharedLayers(width))
            refinements.append(Refinement(change, options.tokens, options.rank, width, prefix))
            layer.register_forward_hook(refinements[-1].refine_output)
        self.network.refinements = refinements  # a part of the network that is trained, and of its size


class SharedLayers(nn.Module):
    """The layers that refinements of one width share: T' W + b, and (...) V + c."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_tokens, self.of_features = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.of_features.weight)
        nn.init.zeros_(self.of_features.bias)


class Refinement(nn.Module):
    """The tokens of a layer, and the refinement of its features.

    Args:
        change: layers that it shares with refinements of the same width.
        tokens: number m of tokens.
        rank: rank of T.
        width: channels D of the features.
        prefix: number of tokens of the layer's output that are no pixels.
    """

    def __init__(self, change: SharedLayers, tokens: int, rank: int, width: int, prefix: int = 0) -> None:
        super().__init__()
        self.change, self.prefix = change, prefix
        spread = math.sqrt(6 / (3 * PATCH**2 + math.sqrt(width * rank)))
        self.left = nn.Parameter(torch.empty(tokens, rank).uniform_(-spread, spread))
        self.right = nn.Parameter(torch.empty(rank, width).uniform_(-spread, spread))

    def forward(self, features: Tensor) -> Tensor:
        """Return refined features (N, n, D)."""
        tokens = self.left @ self.right
        similarity = (features @ tokens.T / math.sqrt(tokens.shape[1])).softmax(-1)
        resembled = similarity[..., 1:] @ self.change.of_tokens(tokens[1:])
        refined: Tensor = features + self.change.of_features(resembled + features)
        return refined

    def refine_output(self, layer: nn.Module, inputs: Any, features: Tensor) -> Tensor:
        """Return refined features of a layer: of a stage (N, D, h, w), or of a ViT (N, prefix + n, D)."""
        if features.ndim == 4:
            return self(features.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(features.shape)
        others, pixels = features[:, : self.prefix], features[:, self.prefix :]
        return torch.cat([others, self(pixels)], 1)
