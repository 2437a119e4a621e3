"""The scale on which methods see numbers of any type: made of the source alone, affine, and nothing for uint8."""

import numpy as np
import pytest
import torch

from benchmark.data.scaling import AS_STORED, Scaling


class _Store:
    """A store of samples (N, C, k)."""

    def __init__(self, sample):
        self._sample = np.asarray(sample)

    def sample(self, rows):
        kept = self._sample[rows]
        return kept.swapaxes(0, 1).reshape(kept.shape[1], -1)

    def range_of(self, rows):
        return self._sample[rows].min((0, 2)), self._sample[rows].max((0, 2))


def test_quantiles_of_the_rows_become_0_and_255_and_nothing_is_clipped():
    values = np.linspace(-1000, 9000, 10_001)
    values[-1] = 1e6  # one pixel too bright
    store = _Store(np.stack([np.stack([values, values / 1e4]), np.full((2, 10_001), 5e5)]))
    scaling = Scaling.of(store, np.array([0]))
    assert scaling.low == pytest.approx((-990, -0.099)) and scaling.high == pytest.approx((8990, 0.899), rel=1e-3)
    images = torch.tensor([scaling.low, scaling.high, (18970.0, 1.897)]).view(3, 2, 1, 1)
    scaled = scaling(images)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(
        scaled[..., 0, 0], torch.tensor([[0.0, 0], [255, 255], [510, 510]]), rtol=1e-4, atol=1e-3
    )
    mean, std = scaling.moments(np.array([4000, 0.4]), np.array([100, 0.01]))
    assert mean == pytest.approx(127.5, rel=1e-3) and std == pytest.approx(2.555, rel=1e-3)


def test_bands_of_few_values_are_told_apart():
    sample = np.zeros((1, 3, 10_000), np.float32)
    sample[0, 0, 0], sample[0, 1] = 0.3, 7
    sample[0, 2] = np.arange(10_000)
    scaling = Scaling.of(_Store(sample), np.array([0]))
    assert scaling.low[:2] == (0, 7) and scaling.high[:2] == pytest.approx((0.3, 262))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_every_type_becomes_float32(kind):
    images = np.arange(24).reshape(2, 3, 2, 2).astype(kind)
    assert torch.equal(AS_STORED(torch.from_numpy(images)), torch.arange(24.0).view(2, 3, 2, 2))
    scaled = Scaling((1.0,) * 3, (256.0,) * 3)(torch.from_numpy(images))
    assert torch.equal(scaled, torch.arange(24.0).view(2, 3, 2, 2) - 1)


def test_eight_bits_have_no_scaling(store):
    scaling = Scaling.of(store, np.arange(3))
    assert scaling == AS_STORED and scaling.as_texts() == {}
    mean, std = store.band_statistics(np.arange(3))
    assert scaling.moments(mean, std) == (mean, std)
