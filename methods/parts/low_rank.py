"""Low-rank changes of the weights of linear layers and convolutions."""

from torch import Tensor, nn
from torch.nn.utils import parametrize

from methods.base import MethodError


class LowRank(nn.Module):
    """A weight W as ``W + scale * B A``, for `torch.nn.utils.parametrize`: its own tensor stays, A and B are trained.

    Args:
        down: A (rank, inputs); of a convolution, inputs are its input channels times the pixels of its kernel.
        up: B (outputs, rank).
        scale: factor of the product.
    """

    def __init__(self, down: Tensor, up: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Parameter(down), nn.Parameter(up), scale

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight (outputs, inputs) or (outputs, channels, height, width)."""
        return weight + self.scale * (self.up @ self.down).view(weight.shape)


def mixing_layers(encoder: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the linear layers and the ungrouped convolutions of an encoder by name, shallowest first.

    Raises:
        MethodError: there is none.
    """
    layers = {
        name: layer
        for name, layer in encoder.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    }
    if not layers:
        raise MethodError("the encoder has no linear layer and no ungrouped convolution whose weights could be changed")
    return layers


def matrix_of(layer: nn.Linear | nn.Conv2d) -> Tensor:
    """Return the weight as a matrix (outputs, inputs), see `LowRank`; without a gradient."""
    return layer.weight.detach().flatten(1)


def change_weight(layer: nn.Linear | nn.Conv2d, change: LowRank) -> None:
    """Have a layer compute with the changed weight; what its own weight was is ``parametrizations.weight.original``."""
    parametrize.register_parametrization(layer, "weight", change.to(layer.weight.device))


def rank_for(layer: nn.Linear | nn.Conv2d, rank: int) -> int:
    """Return a rank that is at most that of the layer's matrix."""
    return max(1, min(rank, *matrix_of(layer).shape))
