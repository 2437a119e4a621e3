"""Style as the amplitude of low spatial frequencies (Yang and Soatto, CVPR 2020, "FDA")."""

import math

import torch
from torch import Tensor

from methods.parts.scenes import Batch, SceneStatistics, cut_alike, whole_images


class SceneStyle:
    """Gives the images of a batch the style of other images, or of the scenes that those are a part of.

    The low-frequency amplitudes of an image are multiplied by the mean ones of the other scene over the mean ones of
    its own. Where the scene is the image itself, a crop or a whole patch, they so become those of the other image, as
    in FDA. Otherwise an image stays darker or brighter than its scene as far as it was, and only the scene's light
    changes. But for the extent of a crop, whole patches are restyled and then cut. A zone of a single patch is that
    patch: where all zones are such, the extent of a zone is the same as that of a patch.

    Args:
        window: half-width of the frequencies, over the shorter side of what is restyled.
        extent: extent of a scene, one of `methods.parts.scenes.EXTENTS`.
        bands: indices of the bands that hold light.
        seed: address of the choice of patches that a scene is measured on.
    """

    def __init__(self, window: float, extent: str, bands: list[int], seed: int) -> None:
        self._window, self._extent, self._bands = window, extent, bands
        self._scenes = SceneStatistics(lambda images: low_amplitudes(images[:, bands], window), extent, seed)

    def transfer(self, batch: Batch, references: Batch, partners: Tensor) -> Tensor:
        """Return the batch's images (N, C, H, W) in the style of some references.

        Args:
            partners: (N,) int64, index of each image's one in the batch of references.
        """
        is_crop = self._extent == "crop"
        images = (batch.images if is_crop else whole_images(batch)).clone()
        own = self._scenes.of(batch, images)
        new = own if references is batch else self._scenes.of(references)
        images[:, self._bands] = restyle(images[:, self._bands], own, new[partners], self._window)
        return images if is_crop else cut_alike(images, batch)


def restyle(images: Tensor, own: Tensor, new: Tensor, share: float) -> Tensor:
    """Return images whose low-frequency amplitudes are ``new / own`` times theirs; phases, and so structure, stay.

    Args:
        images: (N, C, H, W) raw pixel values, before any normalisation.
        own, new: (N, C, K), as from `low_amplitudes`; where ``own`` is 0, the amplitude becomes ``new``.
        share: the window's, as in `low_amplitudes`.

    Returns:
        (N, C, H, W), not clipped to the range of pixel values.
    """
    window = _window(images, share)
    spectrum = torch.fft.fft2(images)
    amplitude = spectrum.abs()
    # Divided first: a tiny amplitude over itself is 1, where the quotient of the two styles might not be finite.
    amplitude[..., window] = torch.where(own > 0, amplitude[..., window] / own * new, new)
    return torch.fft.ifft2(torch.polar(amplitude, spectrum.angle())).real


def low_amplitudes(images: Tensor, share: float) -> Tensor:
    """Return the amplitudes of the K low frequencies of the window in a fixed order: (N, C, H, W) -> (N, C, K).

    The window is centred and holds the signed frequencies -b..b with ``b = floor(share * min(H, W))``, the mean
    included, as in the official NumPy code (the official torch code takes -b..b-1, and nothing at b = 0).

    Args:
        share: the window's half-width over the shorter side, 0.01 to 0.09 in the paper.
    """
    return torch.fft.fft2(images).abs()[..., _window(images, share)]


def _window(images: Tensor, share: float) -> Tensor:
    """Return where the frequencies of the window are: (H, W) bool."""
    height, width = images.shape[-2:]
    radius = math.floor(share * min(height, width))
    rows = torch.fft.fftfreq(height, 1 / height, device=images.device).abs() <= radius
    columns = torch.fft.fftfreq(width, 1 / width, device=images.device).abs() <= radius
    return rows[:, None] & columns
