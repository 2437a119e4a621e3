"""A tiny network, the values the methods are held against, and the record of it that their pages show."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from methods.base import IGNORE, Progress, SourceBatch, TargetBatch, Task
from methods.parts.metadata import Metadata
from methods.parts.origin import Origin
from methods.parts.series import SeriesBatch

REPOSITORY = Path(__file__).resolve().parents[2]
REFERENCES = REPOSITORY / "docs" / "methods" / "references.json"
VALUES = Path(__file__).parent / "values"
BY_HAND = "worked out in the test"
FRESH = pytest.StashKey[dict]()
TASK = Task(classes=("water", "forest", "field"), bands=("red", "nir", "height"), domains=("P1@2020", "P2@2021"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--references", type=Path, metavar="FILE", help="record there what the methods are held against")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("references", None) and config.getoption("numprocesses", None):
        raise pytest.UsageError("--references records in one process: leave out --numprocesses")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    path = session.config.getoption("references", None)
    if path and exitstatus == 0:
        entries = [entry for _, entry in sorted(session.config.stash.get(FRESH, {}).items())]
        path.write_text(json.dumps(entries, indent=1) + "\n")


# Inputs that are too large to be kept: shape, and offset + scale * sin(chirp * k^2 + pace * k + shift) of the k-th.
WAVES: dict[str, dict[str, tuple[tuple[int, ...], dict[str, float]]]] = {
    "advent_minent": {"in_logits": ((2, 13, 32, 32), {"scale": 3.0, "pace": 0.37, "shift": 0.1})},
    "fda": {
        "in_src": ((1, 3, 48, 40), {"offset": 127.5, "scale": 100.0, "chirp": 0.0113, "pace": 0.2}),
        "in_trg": ((1, 3, 48, 40), {"offset": 90.0, "scale": 60.0, "chirp": 0.0231, "pace": 1.3}),
    },
}


class Values(dict[str, np.ndarray]):
    """Arrays computed by a paper's official code, by their names; of large ones every so many numbers are kept."""

    @classmethod
    def load(cls, name: str) -> "Values":
        """Read a file of the folder ``values``."""
        values = cls(np.load(VALUES / f"{name}.npz", allow_pickle=False))
        return cls(values | {key: _wave(*form) for key, form in WAVES.get(name, {}).items()})

    def kept(self, name: str, ours: torch.Tensor) -> torch.Tensor:
        """Return those of our numbers, flat, whose official ones are kept."""
        return ours.flatten()[:: -(-ours.numel() // self[name].size)]

    def source(self, repository: str) -> str:
        """A repository that they come from, with its commit."""
        sources = json.loads(str(self["meta"]))["sources"]
        (commit,) = {source["commit"] for source in sources if source["repo"] == repository}
        return f"{repository}@{commit[:7]}"


def _wave(shape: tuple[int, ...], form: dict[str, float]) -> np.ndarray:
    k = np.arange(np.prod(shape), dtype=np.float64)
    offset, scale, chirp, pace, shift = (form.get(name, 0.0) for name in ("offset", "scale", "chirp", "pace", "shift"))
    return (offset + scale * np.sin(chirp * k * k + pace * k + shift)).reshape(shape).astype(np.float32)


@pytest.fixture
def fixture_values() -> Callable[[str], Values]:
    """Loads official values by the name of their file."""
    return Values.load


@pytest.fixture
def references(pytestconfig: pytest.Config) -> dict[Any, dict[str, Any]] | None:
    """What the pages tell, by `_key`; None where it is being recorded."""
    if pytestconfig.getoption("references", None):
        return None
    return {_key(entry): entry for entry in json.loads(REFERENCES.read_text())}


@pytest.fixture
def agrees(request: pytest.FixtureRequest, references: dict[Any, dict[str, Any]] | None) -> Callable[..., None]:
    """Holds what a method gives against a reference, and the reference against what the method's page tells of it.

    Args (of the callable):
        methods: a name or several, as on the command line.
        quantity: what is compared, in a few words.
        ours, reference: as many numbers each.
        source: repository and commit whose code gave the reference.
        rtol, atol: as of `torch.testing.assert_close`.
    """

    def compare(
        methods: str | tuple[str, ...],
        quantity: str,
        ours: Any,
        reference: Any,
        source: str = BY_HAND,
        *,
        rtol: float,
        atol: float = 0.0,
    ) -> None:
        ours, reference = _numbers(ours), _numbers(reference)
        torch.testing.assert_close(ours, reference, rtol=rtol, atol=atol)
        tolerances = [f"{size:g} {kind}" for size, kind in ((rtol, "relative"), (atol, "absolute")) if size]
        digits = 9 if (rtol or atol) < 1e-6 else 6
        entry = {
            "methods": [methods] if isinstance(methods, str) else sorted(methods),
            "quantity": quantity,
            "values": len(ours),
            "reference": _text(reference, digits),
            "ours": _text(ours, digits),
            "difference": f"{(ours - reference).abs().max().item():.0e}",  # of this machine; not held to
            "within": " + ".join(tolerances) or "exact",
            "source": source,
            "test": request.path.relative_to(REPOSITORY).as_posix(),
        }
        if references is None:
            request.config.stash.setdefault(FRESH, {})[_key(entry)] = entry
        elif not _same(references.get(_key(entry)), entry):
            pytest.fail(f"{REFERENCES.relative_to(REPOSITORY)} does not tell this; run make docs:\n{entry}")

    return compare


def _numbers(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64).detach().flatten()


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry["methods"]), entry["quantity"], entry["test"]


def _text(values: torch.Tensor, digits: int) -> str:
    """The value, or the mean absolute one of several."""
    return f"{values.item() if len(values) == 1 else values.abs().mean().item():.{digits}g}"


def _same(told: dict[str, Any] | None, entry: dict[str, Any]) -> bool:
    """Whether they tell the same of the reference; another platform may change the last of six digits."""
    if told is None or any(told[name] != entry[name] for name in ("values", "within", "source")):
        return False
    return float(told["reference"]) == pytest.approx(float(entry["reference"]), rel=1e-5, abs=0)


class TinyNetwork(nn.Module):
    """What the contract asks of a network: two stages with batch normalisation, and a head at full resolution."""

    def __init__(self, bands: int = 3, classes: int = 3, widths: tuple[int, int] = (4, 6)) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = nn.ModuleDict({"layer1": _block(bands, widths[0], 1), "layer2": _block(*widths, 2)})
        self.model.segmentation_head = nn.Conv2d(widths[1], classes, kernel_size=1)
        self.stages = {"stage1": self.model.encoder["layer1"], "stage2": self.model.encoder["layer2"]}
        self.perturbation: Callable[[str, torch.Tensor], torch.Tensor] | None = None
        self.register_buffer("mean", torch.full((1, bands, 1, 1), 128.0))

    def forward(self, batch: Any, return_features: bool = False) -> Any:
        images = batch.images
        features = (images - 128) / 64
        for name, stage in self.stages.items():
            features = stage(features)
            if self.perturbation is not None:
                features = self.perturbation(name, features)
        logits = nn.functional.interpolate(self.model.segmentation_head(features), images.shape[-2:], mode="bilinear")
        return (logits, features) if return_features else logits


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class TinySeriesNetwork(TinyNetwork):
    """Sees series of two bands, too: to the image's logits come those of a layer on all dates, alike everywhere."""

    def __init__(self, dates: int, bands: int = 3, classes: int = 3) -> None:
        super().__init__(bands, classes)
        self.of_series = nn.Linear(2 * dates, classes)
        self.register_buffer("series_mean", torch.tensor([1000.0, 3000.0]).view(2, 1, 1))
        self.register_buffer("series_std", torch.tensor([200.0, 500.0]).view(2, 1, 1))

    def forward(self, batch: Any, return_features: bool = False) -> Any:
        logits, features = super().forward(batch, return_features=True)
        if batch.series is not None:
            values = (batch.series.values - self.series_mean) / self.series_std
            seen = values.mean((3, 4)) * batch.series.valid[..., None]
            logits = logits + self.of_series(seen.flatten(1))[..., None, None]
        return (logits, features) if return_features else logits


@pytest.fixture
def make_series_network() -> Callable[[int], nn.Module]:
    """Makes a `TinySeriesNetwork` for a number of dates."""

    def make(dates: int) -> nn.Module:
        torch.manual_seed(0)
        return TinySeriesNetwork(dates)

    return make


@pytest.fixture
def make_series() -> Callable[..., SeriesBatch]:
    """Makes series (N, T) of two bands, of 4 by 4 pixels, around levels (N, T, 2) or what broadcasts to it.

    Args (of the callable):
        levels: the means of their dates.
        days: T days from the 15th of May on.
        spread: standard deviation of the pixels of a date.
        seed: seed of the pixels.
    """

    def make(levels: Any, days: list[float], spread: float = 0.0, seed: int = 0) -> SeriesBatch:
        levels = torch.as_tensor(levels, dtype=torch.float32)
        noise = torch.randn(*levels.shape, 4, 4, generator=torch.Generator().manual_seed(seed))
        valid = torch.ones(levels.shape[:2], dtype=torch.bool)
        return SeriesBatch(levels[..., None, None] + spread * noise, torch.tensor(days).expand(valid.shape), valid)

    return make


@pytest.fixture(scope="session")
def make_network() -> Callable[..., nn.Module]:
    """Makes a `TinyNetwork`, with the weights of a seed."""

    def make(seed: int = 0, **sizes: Any) -> nn.Module:
        torch.manual_seed(seed)
        return TinyNetwork(**sizes)

    return make


@pytest.fixture
def network(make_network: Callable[..., nn.Module]) -> nn.Module:
    return make_network()


@pytest.fixture
def task() -> Task:
    return TASK


@pytest.fixture
def source() -> SourceBatch:
    random = torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 32, 32, generator=random) * 255
    labels = torch.randint(0, 3, (4, 32, 32), generator=random)
    return SourceBatch(images, labels, torch.tensor([0, 0, 1, 1]), Metadata.unknown(4))


@pytest.fixture
def target() -> TargetBatch:
    random = torch.Generator().manual_seed(2)
    return TargetBatch(torch.rand(4, 3, 32, 32, generator=random) * 255, Metadata.unknown(4))


@pytest.fixture
def in_pool() -> Callable[..., Any]:
    """Makes of a batch one of quarters of whole patches, the upper left ones after a turn by a right angle.

    Args (of the callable):
        batch: of N patches.
        patches: (n, C, S, S), the pool.
        positions: N of them.
        zones, domains: n indices each; by default all patches have zones of their own, and one domain.
        pool: its name.
    """

    def cut(images: torch.Tensor) -> torch.Tensor:
        half = images.shape[-1] // 2
        return images[..., :half, :half].rot90(1, (-2, -1))

    def make(batch: Any, patches: Any, positions: Any, zones: Any = None, domains: Any = None, pool: str = "a") -> Any:
        chosen = torch.tensor(list(positions))
        zone_of = torch.arange(len(patches)) if zones is None else torch.tensor(zones)
        domain_of = torch.zeros(len(patches), dtype=torch.int64) if domains is None else torch.tensor(domains)
        origin = Origin(pool, chosen, zone_of, domain_of, patches.__getitem__, cut)
        return replace(batch, images=cut(patches[chosen]), origin=origin)

    return make


@pytest.fixture
def reads() -> Callable[..., Any]:
    """Makes of a batch in a pool the same one, and a list that gets the positions at each reading of whole patches."""

    def make(batch: Any) -> tuple[Any, list[torch.Tensor]]:
        read: list[torch.Tensor] = []

        def images(positions: torch.Tensor) -> torch.Tensor:
            read.append(positions)
            return batch.origin.images(positions)

        return replace(batch, origin=replace(batch.origin, images=images)), read

    return make


@pytest.fixture
def distances_in_training() -> Callable[..., list[float]]:
    """Trains on the loss "alignment" alone, and gives its value at each of twenty steps."""

    def train(method: Any, source: SourceBatch, target: TargetBatch | None) -> list[float]:
        optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
        distances = []
        for step in range(20):
            optimizer.zero_grad()
            loss = method.step_losses(source, target, Progress(step, 20))["alignment"]
            loss.backward()
            distances.append(loss.item())
            optimizer.step()
        return distances

    return train


@pytest.fixture
def one_odd_image(source: SourceBatch, target: TargetBatch) -> tuple[SourceBatch, TargetBatch]:
    """Of both sides one image whose sides are odd, and no label."""
    labels = torch.full((1, 15, 13), IGNORE)
    small = replace(source, images=source.images[:1, :, :15, :13], labels=labels, domains=source.domains[:1])
    return small, replace(target, images=target.images[:1, :, :15, :13])


class OfBatches(nn.Sequential):
    """Layers that take a batch's images."""

    def forward(self, batch: Any) -> torch.Tensor:
        images: torch.Tensor = super().forward(batch.images)
        return images


def _official_network() -> nn.Module:
    """The network of the reference values, each tensor by its closed form offset + scale * sin(pace * k + shift)."""
    network = OfBatches(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1))
    waves = {  # offset, scale, pace, shift
        "0.weight": (0, 0.5, 0.7, 0),
        "0.bias": (0, 0.5, 0.7, 1),
        "1.weight": (1, 0.3, 0.7, 2),
        "1.bias": (0, 0.3, 0.7, 3),
        "1.running_mean": (0, 0.4, 1.1, 0.2),
        "1.running_var": (1, 0.3, 1.3, 0.4),
        "3.weight": (0, 2.5, 0.7, 4),
        "3.bias": (0, 0.4, 0.7, 5),
    }
    state = network.state_dict()
    for name, (offset, scale, pace, shift) in waves.items():
        k = torch.arange(state[name].numel(), dtype=torch.float64)
        state[name].copy_((offset + scale * torch.sin(pace * k + shift)).view_as(state[name]))
    return network


@pytest.fixture
def official_network() -> Callable[[], nn.Module]:
    """Makes the small network on which the official test-time codes were run."""
    return _official_network


@pytest.fixture
def official_batches() -> Callable[[Any], list[TargetBatch]]:
    """The three batches of the fixture "tent", from its values."""
    return lambda values: [TargetBatch(torch.tensor(values[f"in_x{k}"]), Metadata.unknown(2)) for k in range(3)]
