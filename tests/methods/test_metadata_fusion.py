"""Held against IGNF/FLAIR-1's own numbers, and by what a network can learn of a month with it."""

import math
from dataclasses import replace

import pytest
import torch

from methods.base import IGNORE, Progress, SourceBatch, TargetBatch
from methods.metadata_fusion import BLOCKS, MetadataFusion, metadata_mlp
from methods.parts.metadata import Metadata, flair_vector

FIRST = Progress(0, 1)


def in_months(*months):
    """Of patches that differ in their month only; camera and altitude are unknown."""
    count = len(months)
    known = {"x": 6e5, "y": 6.6e6, "year": 2020.0, "day": 12.0, "minute": 700.0}
    constant = {name: torch.full((count,), value) for name, value in known.items()}
    return replace(Metadata.unknown(count), **constant, month=torch.tensor(months))


def fused(network, task, **hyperparameters):
    method = MetadataFusion(network, task, MetadataFusion.Hyperparameters(**hyperparameters))
    network.perturbation = method.change_features
    return method


def test_the_mlp_equals_the_official_one(fixture_values, agrees):
    values = fixture_values("metadata_cida_flair_geomt")
    mlp = metadata_mlp(0.4).eval()
    assert sum(parameter.numel() for parameter in mlp.parameters()) == int(values["out_flair_mlp_params"])
    with torch.no_grad():  # the fixture's closed form: the i-th tensor is 0.1 sin(0.7 k + i)
        for index, parameter in enumerate(mlp.parameters()):
            k = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.1 * torch.sin(0.7 * k + index)).view_as(parameter))
    encoded = mlp(torch.tensor(values["out_flair_mtd"], dtype=torch.float32))
    expected, source = values["out_flair_mlp_out"], values.source("IGNF/FLAIR-1")
    agrees("metadata-fusion", "outputs of the MLP for three patches", encoded, expected, source, rtol=1e-5, atol=1e-7)


def test_the_mlp_drops_before_every_relu():
    kinds = [type(layer).__name__ for layer in metadata_mlp(0.4)]
    assert kinds == ["Linear", "Dropout", "ReLU"] * 3
    assert {layer.p for layer in metadata_mlp(0.25) if isinstance(layer, torch.nn.Dropout)} == {0.25}


def test_the_deepest_features_are_shifted_alike_everywhere(network, task):
    method = fused(network, task).eval()
    images = torch.zeros(2, 3, 33, 40)
    shifts = []
    for metadata in (in_months(1.0, 7.0), in_months(7.0, 1.0)):
        features = torch.zeros(2, 6, 17, 20)
        with method._batch.known(metadata):
            assert method.change_features("stage1", features) is features
            shifts.append(method.change_features("stage2", features))
        assert not features.any(), "the given features are shared"
        vector = flair_vector(metadata, published=False)
        expected = method.to_features(method.mlp(vector))[:, :, None, None].expand(2, 6, 17, 20)
        torch.testing.assert_close(shifts[-1], expected)
    assert shifts[0].flip(0).allclose(shifts[1]) and not shifts[0].allclose(shifts[1])
    assert method.predict(TargetBatch(images, in_months(1.0, 7.0))).shape == (2, 3, 33, 40)


@pytest.fixture
def accuracy_of_months(network, task):
    """Of telling January (all 0) from July (all 1) in the same two images, after a short training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors so small, several only wait for each other

    def accuracy(encoding, fuse=True):
        torch.manual_seed(0)
        # Dropout makes the way to the same end longer.
        method = fused(network, task, encoding=encoding, dropout=0.0)
        if not fuse:
            network.perturbation = None
        images = torch.tensor([60.0, 200.0, 60.0, 200.0])[:, None, None, None].expand(4, 3, 8, 8)
        labels = torch.tensor([0, 0, 1, 1])[:, None, None].expand(4, 8, 8)
        batch = SourceBatch(images, labels, torch.zeros(4, dtype=torch.int64), in_months(1.0, 1.0, 7.0, 7.0))
        optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
        for step in range(60):
            optimizer.zero_grad()
            sum(method.step_losses(batch, None, Progress(step, 60)).values()).backward()
            optimizer.step()
        method.eval()
        predicted = method.predict(TargetBatch(images, batch.metadata)).argmax(1)
        return (predicted == labels).float().mean().item()

    yield accuracy
    torch.set_num_threads(threads)


def test_a_label_that_hangs_on_the_month_is_learnt(accuracy_of_months):
    assert accuracy_of_months("corrected") == 1


def test_it_is_not_learnt_without_metadata(accuracy_of_months):
    assert accuracy_of_months("corrected", fuse=False) == 0.5


def test_it_is_not_learnt_with_the_published_vector(accuracy_of_months):
    """All months are the same point in it."""
    assert accuracy_of_months("published") == 0.5


def test_the_blocks_are_whole_groups_of_columns():
    assert BLOCKS["all"] == slice(0, 45)
    kinds = {
        "place": ("x", "y", "z"),
        "camera": ("uce",),
        "date and time": ("year", "month", "day", "minute"),
        "all but place": ("uce", "year", "month", "day", "minute"),
    }
    cameras, years = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([2018.0, 2019.0, 2020.0, 2021.0])
    known = replace(in_months(*[1.0] * 4), z=torch.full((4,), 120.0), uce=cameras, year=years)
    whole = flair_vector(known, published=False)
    assert whole.any(0).all(), "no column is empty"
    for block, names in kinds.items():
        unknown = dict.fromkeys(names, torch.full((4,), math.nan))
        inside = torch.zeros(45, dtype=torch.bool)
        inside[BLOCKS[block]] = True
        assert flair_vector(replace(known, **unknown), published=False).equal(whole * ~inside), block


@pytest.mark.parametrize(("block", "seen"), [("date and time", True), ("all but place", True), ("place", False)])
def test_only_the_chosen_blocks_are_told(network, task, block, seen):
    method = fused(network, task, blocks=block).eval()
    images = torch.full((2, 3, 16, 16), 100.0)
    logits = method.predict(TargetBatch(images, in_months(1.0, 7.0)))
    # Equal images at two places of a batch may differ by rounding, on some processors.
    assert torch.allclose(logits[0], logits[1], rtol=1e-5, atol=1e-6) != seen


def test_unknown_metadata_gives_finite_logits(network, task, target):
    method = fused(network, task).eval()
    unknown = method.predict(target)
    assert unknown.isfinite().all()
    assert unknown.equal(network(target)), "nor is anything known where somebody else runs the network"
    january = method.predict(replace(target, metadata=in_months(1.0, 1.0, 1.0, 1.0)))
    assert not january.allclose(unknown)
    assert network(TargetBatch.of(target.images[:1])).shape == (1, 3, 32, 32), (
        "the metadata of the last batch is forgotten"
    )


def test_network_and_mlp_learn(network, task, source):
    method = fused(network, task)
    sum(method.step_losses(source, None, FIRST).values()).backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_one_patch_without_a_label(network, task, source):
    method = fused(network, task)
    batch = SourceBatch(
        source.images[:1],
        torch.full_like(source.labels[:1], IGNORE),
        source.domains[:1],
        source.metadata.take(slice(1)),
    )
    losses = method.step_losses(batch, None, FIRST)
    losses["segmentation"].backward()
    assert losses["segmentation"].item() == 0


def test_half_precision_features_stay_so(network, task):
    method = fused(network, task)
    features = torch.zeros(3, 6, 2, 2, dtype=torch.bfloat16)
    assert method.change_features("stage2", features).dtype == torch.bfloat16
