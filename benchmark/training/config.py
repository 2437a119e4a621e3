"""Recipes: everything about a training that is the same for every method of a comparison."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_type_hints

from benchmark.common.errors import SettingsError
from benchmark.data.series.dates import DATE_FILTERS, SeriesView
from benchmark.data.series.series import PATCH
from benchmark.models.packaged import PACKAGED
from benchmark.models.settings import ALONE, SERIES, NetworkSettings
from benchmark.training.arrival import DATE, ORDERS


@dataclass(frozen=True)
class TrainingConfig:
    """Network, input, optimiser and budget.

    Attributes:
        network: settings of the network.
        steps: optimiser steps, equal for every method.
        batch_size: labelled patches a step; a method that sees target images gets as many of those on top.
        crop: side of the square cut from each training patch, in pixels; 0 for the whole patch.
        turn: flip and rotate training patches by right angles.
        optimizer: ``adamw`` or ``sgd``.
        learning_rate, weight_decay, momentum: the optimiser's (momentum for ``sgd`` only).
        schedule: ``constant``; ``poly`` (down to 0 with power 0.9); ``one-cycle`` (up to the learning rate over the
            first 15 % of the steps, then down to nearly 0 along a cosine; Smith and Topin 2019, arXiv 1708.07120);
            ``plateau`` (halved after 10 evaluations without a better source validation loss, then 4 of rest, down to
            1e-7).
        checkpoints: number of checkpoints, evenly spaced, the last at the end, each scored on source validation.
        precision: Lightning Fabric's, for example ``32-true`` or ``bf16-mixed``.
        series_side: side of what is cut of a series of satellite images around each patch, in pixels of the series.
        dates: which of its dates are kept: ``all``, or by the rule of ``flair2`` or ``flairhub``.
        monthly: whether the dates that are kept are averaged month by month.
        stream_order: order in which the test stream arrives, one of `benchmark.training.arrival.ORDERS`.
    """

    network: NetworkSettings = field(default_factory=NetworkSettings)
    steps: int = 1000
    batch_size: int = 8
    crop: int = 0
    turn: bool = True
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.0
    schedule: str = "poly"
    checkpoints: int = 4
    precision: str = "32-true"
    series_side: int = PATCH
    dates: str = "flair2"
    monthly: bool = True
    stream_order: str = DATE

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "TrainingConfig":
        """Return a preset with some values changed (`make_recipe`), for example ``preset("tiny", steps=800)``."""
        return make_recipe(name, changes)

    @property
    def curve_every(self) -> int:
        """Steps from one point of the losses' curves to the next.

        The curves have 1,000 to 2,000 points where there are so many steps: each is a row of MLflow's tables, and with
        one a step a long comparison would fill terabytes.
        """
        return max(self.steps // 1000, 1)

    @property
    def series_view(self) -> SeriesView | None:
        """The part of the series that is seen; None where the network sees none."""
        return SeriesView(self.series_side, self.dates, self.monthly) if self.network.series else None

    def __post_init__(self) -> None:
        if self.series_side < 2 or self.series_side % 2:
            raise SettingsError(f"series_side must be an even number of pixels, not {self.series_side}")
        if self.network.series not in SERIES:
            raise SettingsError(f"series is one of {', '.join(SERIES[1:])}, or empty, not {self.network.series!r}")
        if self.network.frozen and self.network.series == ALONE:
            raise SettingsError("frozen is of the encoder of images, and a network of the series alone has none")
        for name in ("steps", "batch_size", "checkpoints"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.checkpoints > self.steps:
            raise SettingsError(f"checkpoints must be at most the steps ({self.steps}), not {self.checkpoints}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SettingsError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")


CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("constant", "poly", "one-cycle", "plateau"),
    "dates": tuple(DATE_FILTERS),
    "stream_order": ORDERS,
}

PRESETS = {
    # 0.1 million weights, random at the start: learns the synthetic world on one CPU core in half a minute.
    "tiny": TrainingConfig(
        network=NetworkSettings("light-fpn", "tu-test_resnet", encoder_depth=3, series_widths=(16, 32)),
        steps=2000,
        batch_size=16,
        crop=32,
        learning_rate=1e-2,
        schedule="one-cycle",
        series_side=8,
    ),
    # 3 million weights, pretrained on ImageNet, from a Python package: real images on CPU cores.
    "small": TrainingConfig(
        network=NetworkSettings(
            "light-fpn", "tu-tf_efficientnet_lite0", PACKAGED, encoder_depth=4, series_widths=(32, 64)
        ),
        steps=1000,
        batch_size=8,
        crop=96,
        learning_rate=3e-3,
        schedule="one-cycle",
        series_side=20,
    ),
    # The published baseline of FLAIR #1 (IGNF/FLAIR-1, challenge code): plain SGD at 0.02, halved on a plateau of the
    # validation loss, geometric augmentation. Its batch size, epochs and early stop are not published or not
    # compatible with equal steps: 10 patches, and about 100 epochs of the 32 training departments, are ours.
    "flair-baseline": TrainingConfig(
        network=NetworkSettings(encoder="resnet34", encoder_weights="imagenet"),
        steps=475_000,
        batch_size=10,
        optimizer="sgd",
        learning_rate=0.02,
        weight_decay=0.0,
        schedule="plateau",
        checkpoints=100,
    ),
    # The published baseline of FLAIR #2 with its series, U-T&T (IGNF/FLAIR-2): plain SGD at 0.001, a loss on each of
    # the two branches, clear dates averaged by month. As long as the one of FLAIR #1, where its code may stop early.
    "flair2-baseline": TrainingConfig(
        network=NetworkSettings(encoder="resnet34", encoder_weights="imagenet", series="corrected", series_loss=1.0),
        steps=475_000,
        batch_size=10,
        optimizer="sgd",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        checkpoints=100,
    ),
}


def make_recipe(preset: str, changes: dict[str, Any]) -> TrainingConfig:
    """Return a preset with some values changed; those of the network are named like those of the recipe.

    Raises:
        SettingsError: there is no such preset, or a value is not allowed.
    """
    if preset not in PRESETS:
        raise SettingsError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    recipe = PRESETS[preset]
    of_network = {item.name for item in fields(NetworkSettings)}
    network = replace(recipe.network, **{key: value for key, value in changes.items() if key in of_network})
    if network.decoder_channels and network.encoder_depth != recipe.network.encoder_depth:
        network = replace(network, decoder_channels=())  # those of the preset are for its own depth
    return replace(recipe, network=network, **{k: v for k, v in changes.items() if k not in of_network})


def preset_and_changes(recipe: TrainingConfig) -> tuple[str, dict[str, Any]] | None:
    """Return the preset with the fewest changes that make a recipe of it (`make_recipe`); None if there is none."""
    candidates = []
    for preset, settings in PRESETS.items():
        changes = {name: value for name in option_types() if (value := _value(recipe, name)) != _value(settings, name)}
        if make_recipe(preset, changes) == recipe:
            candidates.append((preset, changes))
    return min(candidates, key=lambda one: len(one[1]), default=None)


def _value(recipe: TrainingConfig, name: str) -> Any:
    return getattr(recipe, name) if hasattr(recipe, name) else getattr(recipe.network, name)


def as_written(recipe: TrainingConfig) -> dict[str, Any]:
    """Return all values of a recipe; without those of series where its network sees none, and the order by date.

    ``frozen`` is left out where it is not so, too. So runs of versions that knew no other order, and no frozen encoder,
    keep their keys.
    """
    values = without_order(asdict(recipe)) if recipe.stream_order == DATE else asdict(recipe)
    if not recipe.network.frozen:
        del values["network"]["frozen"]
    return values if recipe.network.series else without_series(values)


def without_series(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was written down of a recipe without its settings of series."""

    def others(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if not name.startswith(("series", "dates", "monthly"))}

    return others({**values, "network": others(values["network"])})


def without_order(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was written down of a recipe without the order of the test stream."""
    return {name: value for name, value in values.items() if name != "stream_order"}


def recipe_of(values: Any) -> TrainingConfig:
    """Return a recipe from what a run wrote down of it; what this version of landshift added since has its default.

    Raises:
        SettingsError: it holds a value that this version does not know, or one of another kind than it has.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("network"), Mapping):
        raise SettingsError("the record holds no recipe with a network")
    network = dict(values["network"])
    if unknown := {*values, *network} - {
        item.name for kind in (TrainingConfig, NetworkSettings) for item in fields(kind)
    }:
        raise SettingsError(f"this version of landshift knows no {', '.join(sorted(unknown))} of a recipe")
    lists = {name: network[name] for name in ("decoder_channels", "series_widths") if name in network}
    kinds = {name: (int, float) if kind is float else kind for name, kind in option_types().items()}
    of_kind = all(isinstance(value, kinds.get(name, object)) for name, value in {**values, **network}.items())
    if (
        not of_kind
        or not all(isinstance(each, list | tuple) for each in lists.values())
        or not all(isinstance(item, int) for each in lists.values() for item in each)
    ):
        raise SettingsError("the record holds a recipe with a value of another kind than it should have")
    network |= {name: tuple(each) for name, each in lists.items()}
    return TrainingConfig(**{**values, "network": NetworkSettings(**network)})


def option_types() -> dict[str, type]:
    """Return the type of each value that the command line can change, by name."""
    hints = get_type_hints(NetworkSettings) | get_type_hints(TrainingConfig)
    return {name: kind for name, kind in hints.items() if kind in (int, float, str, bool)}
