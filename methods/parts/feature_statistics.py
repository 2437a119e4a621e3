"""Style as the mean and standard deviation of each channel of each image (Huang and Belongie, ICCV 2017, "AdaIN")."""

import torch
from torch import Tensor

Statistics = tuple[Tensor, Tensor]
"""Mean and standard deviation, each (N, D, 1, 1) and at least float32."""


def channel_statistics(features: Tensor, epsilon: float) -> Statistics:
    """Return the mean and standard deviation of each channel over the pixels of each image.

    Args:
        features: (N, D, h, w), of any floating dtype.
        epsilon: added to the variance, which is unbiased; that of a map of one pixel is 0.
    """
    values = features.to(torch.promote_types(features.dtype, torch.float32))
    pixels = features.shape[2] * features.shape[3]
    variance, mean = torch.var_mean(values, (2, 3), correction=min(1, pixels - 1), keepdim=True)
    return mean, (variance + epsilon).sqrt()


def restyle(features: Tensor, own: Statistics, new: Statistics) -> Tensor:
    """Return the features (N, D, h, w) with new statistics instead of their own, in their own dtype."""
    (mean, deviation), (new_mean, new_deviation) = own, new
    return ((features - mean) / deviation * new_deviation + new_mean).to(features.dtype)
