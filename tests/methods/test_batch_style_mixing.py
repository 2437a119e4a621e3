"""Held against YanchaoYang/FDA's swap, which BaSA applies within a batch; who gets whose style."""

from dataclasses import replace

import torch

from methods.base import Progress, SourceBatch, Task
from methods.batch_style_mixing import BatchStyleMixing
from methods.parts.metadata import Metadata
from methods.source_only import SourceOnly

NOW = Progress(0, 1)
LIGHT = Task(("a", "b"), ("red", "green", "blue"))


def _method(network, task, **values):
    return BatchStyleMixing(network, task, BatchStyleMixing.Hyperparameters(**values))


def test_two_images_exchange_their_styles_as_in_the_official_swap(network, fixture_values, agrees):
    values = fixture_values("fda")
    images = torch.tensor(values["in_src"]).double(), torch.tensor(values["in_trg"]).double()
    labels = torch.zeros(2, 48, 40, dtype=torch.int64)
    batch = SourceBatch(torch.cat(images), labels, torch.tensor([0, 1]), Metadata.unknown(2))
    method = _method(network, LIGHT, narrowest=0.1, widest=0.1, extent="crop")
    found = values.kept("out_np_0p1", method.in_other_styles(batch)[:1])
    expected = torch.tensor(values["out_np_0p1"]).clamp(0, 255)
    source = values.source("YanchaoYang/FDA")
    agrees("batch-style-mixing", "an image in another one's style", found, expected, source, rtol=0, atol=1e-8)


def test_it_learns_both_and_weight_0_is_source_only(network, task, source):
    network.eval()
    losses = _method(network, task, weight=0.5).step_losses(source, None, NOW)
    method = _method(network, task)
    restyled = replace(source, images=method.in_other_styles(source))
    torch.testing.assert_close(losses["segmentation"], method.segmentation_loss(source))
    torch.testing.assert_close(losses["style"], 0.5 * method.segmentation_loss(restyled))
    plain = SourceOnly(network, task).step_losses(source, None, NOW)
    assert _method(network, task, weight=0.0).step_losses(source, None, NOW) == plain


def test_images_are_paired_from_both_ends_and_the_middle_one_stays(network, task, source):
    images = torch.stack([torch.full((3, 32, 32), value) for value in (10.0, 120.0, 200.0)])
    batch = replace(source, images=images, labels=source.labels[:3], domains=source.domains[:3])
    found = _method(network, task).in_other_styles(batch)
    torch.testing.assert_close(found[:, :2], images.flip(0)[:, :2])
    assert torch.equal(found[:, 2], images[:, 2]), "a height has no style"


def test_the_window_is_drawn_for_each_step_within_its_bounds(network, task, source, monkeypatch):
    seen = []
    style = "methods.batch_style_mixing.SceneStyle"
    monkeypatch.setattr(style, lambda window, *rest: seen.append(window) or Unchanged())
    method = _method(network, task, narrowest=0.02, widest=0.05)
    for step in range(50):
        method.progress = Progress(step, 50)
        method.in_other_styles(source)
    assert min(seen) < 0.023 and max(seen) > 0.047 and all(0.02 <= window <= 0.05 for window in seen)


class Unchanged:
    def transfer(self, batch, references, partners):
        return batch.images.clone()


def test_whole_patches_exchange_their_styles_unless_the_crop_is_asked_for(network, task, source, in_pool):
    random = torch.Generator().manual_seed(0)
    batch = in_pool(source, torch.rand(4, 3, 32, 32, generator=random) * 255, range(4))
    patch, crop = (_method(network, task, extent=extent).in_other_styles(batch) for extent in ("patch", "crop"))
    assert not torch.allclose(patch, crop, atol=1.0) and patch.shape == batch.images.shape


def test_one_image_without_labels(network, task, one_odd_image):
    losses = _method(network, task).step_losses(one_odd_image[0], None, NOW)
    sum(losses.values()).backward()
    assert losses["style"] == 0 and all(weights.grad.isfinite().all() for weights in network.parameters())
