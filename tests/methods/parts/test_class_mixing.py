"""Held against vikolss/DACS's own numbers: which pixels are pasted, and the images and labels that result."""

import pytest
import torch

from methods.base import IGNORE
from methods.parts.class_mixing import class_mask, draw_classes, paste


def test_mask_and_mixture_equal_the_official_ones(fixture_values, agrees):
    values = fixture_values("dacs_classmix")
    labels, pseudo, images, others = (
        torch.tensor(values[name])[None] for name in ("in_src_lab", "in_trg_pl", "in_src_img", "in_trg_img")
    )
    drawn = torch.zeros(1, 256, dtype=torch.bool)
    drawn[0, torch.tensor(values["in_classes"])] = True
    mask = class_mask(labels, drawn)
    assert torch.equal(mask.long(), torch.tensor(values["out_mask"]))
    assert torch.equal(paste(mask, labels, pseudo), torch.tensor(values["out_mixed_lbl"]).long())
    mixed, source = paste(mask, images, others), values.source("vikolss/DACS")
    agrees("dacs", "mixed images", mixed, values["out_mixed_img"], source, rtol=1e-6, atol=1e-6)


def test_as_many_classes_are_drawn_as_officially(fixture_values):
    counts = fixture_values("dacs_classmix")["out_n_selected_for_nclasses"]
    for classes, count in enumerate(counts, start=1):
        drawn = draw_classes(torch.arange(classes).view(1, 1, -1), torch.Generator().manual_seed(classes))
        assert drawn.sum() == count


def test_classes_are_those_of_each_image_and_never_ignored_pixels():
    labels = torch.tensor([[[0, 1]], [[5, IGNORE]], [[IGNORE, IGNORE]], [[2, 2]]])
    seen = torch.zeros(4, 256, dtype=torch.bool)
    for seed in range(20):
        drawn = draw_classes(labels, torch.Generator().manual_seed(seed))
        assert drawn.sum(1).tolist() == [1, 1, 0, 1]
        seen |= drawn
    assert [row.nonzero().flatten().tolist() for row in seen] == [[0, 1], [5], [], [2]]


@pytest.mark.parametrize("classes", [3, 4])
def test_every_class_is_drawn_equally_often(classes):
    labels = torch.arange(classes).view(1, 1, -1).expand(2000, 1, -1)
    often = draw_classes(labels, torch.Generator().manual_seed(0)).float().mean(0)[:classes]
    torch.testing.assert_close(often, torch.full((classes,), 2 / classes), rtol=0, atol=0.05)
