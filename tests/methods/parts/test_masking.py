"""Held against lhoyer/MIC's own numbers: the grid of blocks, and the pixels that stay visible."""

import numpy as np
import torch

from methods.parts.masking import block_mask, grid_size, visible_pixels

CASES = [(64, 64, 16, 0.7), (96, 80, 32, 0.7), (50, 70, 16, 0.5), (512, 512, 64, 0.7)]


def test_grid_and_masks_equal_the_official_ones(fixture_values, agrees):
    values, masks, expected = fixture_values("mic_mask"), [], []
    for height, width, block, ratio in CASES:
        key = f"{height}x{width}_b{block}_r{ratio}".replace(".", "p")
        draws = torch.tensor(values[f"in_u_{key}"])
        assert grid_size(height, width, block) == draws.shape[-2:]
        masks.append(visible_pixels(draws, ratio, height, width).flatten())
        expected.append(values[f"out_mask_{key}"].ravel())
    masks, expected, source = torch.cat(masks), np.concatenate(expected), values.source("lhoyer/MIC")
    agrees("masked-image-consistency", "visible pixels in images of four sizes", masks, expected, source, rtol=0)


def test_halves_of_a_block_are_rounded_to_even():
    assert grid_size(40, 24, 16) == (2, 2)  # 2.5 and 1.5


def test_a_mask_hides_whole_blocks_of_each_image_by_itself():
    mask = block_mask(torch.zeros(64, 5, 64, 64), 8, 0.7, torch.Generator().manual_seed(0))
    assert mask.shape == (64, 1, 64, 64)
    blocks = mask.view(64, 8, 8, 8, 8).transpose(2, 3).flatten(3)
    assert (blocks.all(3) | ~blocks.any(3)).all()
    assert len(blocks.all(3).flatten(1).unique(dim=0)) == 64
    torch.testing.assert_close(mask.float().mean().item(), 0.3, rtol=0, atol=0.02)
