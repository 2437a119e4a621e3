"""What tests let two processes do. A file of its own, which those processes can import."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.layers import BatchNormAct2d, DropPath
from torch import Tensor, nn
from torch.func import functional_call

from benchmark import savepoints
from benchmark.devices import make_fabric
from benchmark.evaluation import evaluate
from benchmark.fitting import fitted
from benchmark.network import NetworkSettings, build_network
from benchmark.savepoints import Savepoints
from benchmark.sharing import share_of, sharing
from benchmark.training import Stepper, state_of
from benchmark.whole_batch import WholeBatch


def in_two(work: Callable[[Fabric], Any], folder: Path, precision: str = "32-true") -> list[Any]:
    """What some work gives in each of two processes."""
    make_fabric("cpu", 2, precision).launch(partial(_written, work=work, folder=folder))
    return [torch.load(folder / f"{rank}", weights_only=False) for rank in range(2)]


def _written(fabric: Fabric, work: Callable[[Fabric], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.save(work(fabric), folder / str(fabric.global_rank))


# ---------------------------------------------------------------- methods, trained


def trained(fabric: Fabric, methods: Any, data: Any, recipe: Any, weights: Any, points: Path | None = None) -> Any:
    """Of each method: what it holds in the end, its curves, and the counts of its checkpoints and of the test."""
    found = {}
    for name, method in methods.items():
        curves: dict[tuple[int, str], float] = {}

        def log(metrics, step, curves=curves):
            curves.update({(step, key): value for key, value in metrics.items()})

        given = weights if method.needs.starts_from_source else None
        stepper = Stepper(fabric, method, None, data, recipe, 0, log, given)
        with fitted(stepper, savepoints=Savepoints(points / name, {}, every=0) if points else None) as result:
            rows = data.parts["target_test"].rows[:3].tolist()
            test = evaluate(fabric, result.method.eval().predict, data, "target_test", keep=rows)
            counts = [c.source_val.total() for c in result.checkpoints] + [test.total()]
            state = {key: value.clone() for key, value in state_of(result.method).items()}
        found[name] = state, curves, counts, dict(test.kept)
    return found


# ---------------------------------------------------------------- parts: the same code in one process and in two


def parts_and_trained(fabric: Fabric, **what: Any) -> Any:
    """Both: to start a process takes longer than what it does."""
    savepoints.SHARE = math.inf  # in this process, which does nothing else: one after every step, however long it takes
    return parts(fabric), trained(fabric, **what)


def parts(fabric: Fabric) -> dict[str, dict[str, Tensor]]:
    """What each of `PARTS` gives; with several processes, as in a training step that they share."""
    found = {}
    torch.set_default_dtype(torch.float64)  # so that what differs is a mistake
    try:
        for name, part in PARTS.items():
            torch.manual_seed(0)
            with sharing(fabric.global_rank, fabric.world_size):
                found[name] = part()
    finally:
        torch.set_default_dtype(torch.float32)
    return found


def _layer(layer: nn.Module, shape: tuple[int, ...], channels_last: bool = False) -> dict[str, Tensor]:
    """Two passes of a layer, with the gradients of a loss that no image is alone in."""
    torch.manual_seed(1)
    first, second, pull = (torch.randn(shape) + 3 for _ in range(3))
    if channels_last:
        first = first.contiguous(memory_format=torch.channels_last)
    first.requires_grad_()
    outputs = _pass(layer, first), _pass(layer, second)
    ((outputs[0] + outputs[1].flip(0)) * pull).square().sum().backward()
    grads = {f"gradient of {name}": weight.grad for name, weight in layer.named_parameters()}
    buffers = {name: buffer.float() for name, buffer in layer.named_buffers()}
    return {"output": outputs[0].detach(), "again": outputs[1].detach(), "images": first.grad, **grads, **buffers}


def _pass(layer: nn.Module, images: Tensor) -> Tensor:
    share = share_of(len(images))
    if share is None:
        return layer(images)
    with share.in_network(), WholeBatch():
        rows = functional_call(layer, share.weights_of(layer), share.take(images))
    return share.gather(rows)


def _network(
    images: int,
    decoder: str = "unet",
    perturb: Callable[[str, Tensor], Tensor] | None = None,
    hooked: bool = False,
    encoder: str = "tu-test_resnet",
) -> dict[str, Tensor]:
    """A step of a network whose loss mixes all images, clipped by a gradient that is taken on the way."""
    options = {"decoder_channels": (8, 8)} if decoder == "unet" else {}
    settings = NetworkSettings(decoder, encoder, encoder_depth=2 if decoder == "unet" else 5, **options)
    network = build_network(settings, 3, 4, np.zeros(3), np.ones(3), 0).train().double()
    network.perturbation = perturb
    seen = []
    if hooked:
        network.model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    torch.manual_seed(1)
    batch = torch.randn(images, 3, 64, 64)
    logits, features = network(batch, return_features=True)
    with torch.no_grad():
        plain = network(batch.flip(3))
    spread = (logits - logits.mean(0)).square().mean() + (features.flatten(1) @ features.flatten(1).T).square().mean()
    weights = list(network.parameters())
    slopes = torch.autograd.grad(spread, weights, retain_graph=True, allow_unused=True)
    norm = torch.stack([slope.norm() for slope in slopes if slope is not None]).norm()
    (spread / norm.detach() + network(batch + 1).square().mean() + (logits * plain).mean()).backward()
    grads = {f"gradient of {name}": weight.grad for name, weight in network.named_parameters()}
    assert all(count == images for count in seen)
    return {
        "logits": logits.detach(),
        "features": features.detach(),
        "norm": norm,
        "images in the hook": torch.tensor(seen),
        **{name: gradient for name, gradient in grads.items() if gradient is not None},
        **{name: buffer.float() for name, buffer in network.named_buffers()},
    }


def _mixing(stage: str, features: Tensor) -> Tensor:
    """A hook that mixes all images and drops some, as a method's own part of the network may."""
    kept = nn.functional.dropout(torch.ones_like(features[:, :, :1, :1]), 0.3, True)
    return features if stage == "stage2" else features + 0.5 * features.flip(0) * kept - features.mean(0)


PARTS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "gather and take": lambda: _layer(nn.Identity(), (4, 2, 3, 3)),
    "gather and take of three": lambda: _layer(nn.Conv2d(2, 2, 1), (3, 2, 3, 3)),
    "gather and take of numbers": lambda: _layer(nn.Linear(3, 3), (5, 3)),
    "batch norm": lambda: _layer(nn.BatchNorm2d(2), (4, 2, 3, 3), channels_last=True),
    "batch norm of three": lambda: _layer(nn.BatchNorm2d(2), (3, 2, 5, 4)),
    "batch norm of single pixels": lambda: _layer(nn.BatchNorm2d(2), (2, 2, 1, 1)),
    "batch norm without momentum": lambda: _layer(nn.BatchNorm2d(2, momentum=None), (4, 2, 3, 3)),
    "batch norm without weights": lambda: _layer(nn.BatchNorm2d(2, affine=False), (4, 2, 3, 3)),
    "batch norm without memory": lambda: _layer(nn.BatchNorm2d(2, track_running_stats=False), (4, 2, 3, 3)),
    "batch norm of a standing layer": lambda: _layer(nn.BatchNorm2d(2).eval(), (4, 2, 3, 3)),
    "batch norm of timm": lambda: _layer(BatchNormAct2d(2), (4, 2, 3, 3)),
    "batch norm of rows": lambda: _layer(nn.BatchNorm1d(3), (5, 3)),
    "dropout": lambda: _layer(nn.Dropout(0.4), (3, 2, 3, 3)),
    "dropout, channels last": lambda: _layer(nn.Dropout(0.4), (4, 2, 3, 3), channels_last=True),
    "dropout of channels": lambda: _layer(nn.Dropout2d(0.4), (4, 8, 3, 3)),
    "stochastic depth": lambda: _layer(DropPath(0.4), (7, 2, 3, 3)),
    "network": lambda: _network(4),
    "network, three images": lambda: _network(3),
    "network, one image": lambda: _network(1),
    "network with a method's hook": lambda: _network(4, perturb=_mixing),
    "network with a method's hook, three images": lambda: _network(3, perturb=_mixing),
    "network with a hook of somebody else": lambda: _network(4, hooked=True),
    "network with dropout": lambda: _network(4, "fpn"),
}
