"""The method contract: what a researcher writes, and the types that cross to it.

A method is one way of training one network. It subclasses :class:`Method`, says what it ``needs`` to see, declares its
hyperparameters beside their defaults and search ranges, and overrides only the hooks in which it is special. The engine
owns everything else: the loop, optimisers, precision, devices, evaluation, logging and timing.

The hooks (each does nothing unless overridden):

========================  =================================================================================
``setup``                 before the first step: change layers, freeze weights, add modules and buffers
``sampling_weights``      how often each labelled patch is drawn
``augment``               change the input batches
``fuse``                  change the features at a named stage, always (what is known of the patch)
``perturb``               change the features at a named stage, while training (noise, other styles)
``losses``                the losses of a step; their sum is minimised
``optimizer``             another optimiser than the recipe's (and ``constant_rate``, no schedule)
``make_second_network``,  another network with its own optimiser (a discriminator, a head that learns apart), trained
``second_losses`` and     after each step on what ``losses`` left for it
``second_optimizer``
``after_step``            touch the weights after a step (moving averages, restarts)
``validate``              look at losses on source validation, ``validations`` times in a training
``predict``               logits at test time
``predict_source``        logits of source validation, where these are another matter than those of the target
``adapt``                 learn from a batch of the test stream, after it was predicted
``state`` and             save, and put back, what a later step depends on and is no module, parameter or buffer
``load_state``            (a count, a queue), for a training that is interrupted
========================  =================================================================================

A method is a ``torch.nn.Module``: what it holds as module, parameter or buffer is saved, restored and moved with it.
The engine's optimiser trains every parameter in it that requires a gradient, but those of the second network.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.parts.batches import IGNORE as IGNORE
from methods.parts.batches import SourceBatch as SourceBatch
from methods.parts.batches import TargetBatch as TargetBatch
from methods.parts.contract import require_batches, require_logits, require_losses
from methods.parts.errors import MethodError as MethodError
from methods.parts.gradients import gradients_of
from methods.parts.hyperparameters import choice as choice
from methods.parts.hyperparameters import make_hyperparameters as make_hyperparameters
from methods.parts.hyperparameters import switch as switch
from methods.parts.hyperparameters import tunable as tunable
from methods.parts.randomness import torch_generator
from methods.parts.series import SeriesBatch as SeriesBatch
from methods.parts.series import SeriesUse as SeriesUse


class Needs(StrEnum):
    """The data a method may see besides the network it trains."""

    SOURCE_LABELS = "source labels"
    TARGET_IMAGES = "target images"
    SOURCE_MODEL = "a trained source model and target images"
    TEST_STREAM = "a trained source model and the test stream"
    FEW_TARGET_LABELS = "a few labels of target_adapt"
    TARGET_LABELS = "all labels of target_adapt"

    @property
    def is_bound(self) -> bool:
        """A result with these needs is a bound to compare with, not a result."""
        return self is Needs.TARGET_LABELS

    @property
    def starts_from_source(self) -> bool:
        """The method starts from the weights of the finished source-only run, and sees no source data."""
        return self in (Needs.SOURCE_MODEL, Needs.TEST_STREAM)

    @property
    def trains_on_labels(self) -> bool:
        """A step has a batch of labelled patches."""
        return not self.starts_from_source

    @property
    def trains_on_target(self) -> bool:
        """A step has a batch of unlabelled target patches."""
        return self in (Needs.TARGET_IMAGES, Needs.SOURCE_MODEL)

    @property
    def sees_target(self) -> bool:
        """Training uses the ``target_adapt`` part of a fold."""
        return self.trains_on_target or self is Needs.TARGET_LABELS


@dataclass(frozen=True)
class Task:
    """The task to learn: classes, bands and domains.

    Attributes:
        classes: names of the evaluated classes, in the order of the network's outputs.
        bands: names of the image bands, in order.
        domains: names of the source domains, in the order of their indices.
    """

    classes: tuple[str, ...]
    bands: tuple[str, ...]
    domains: tuple[str, ...] = ()

    @property
    def radiometric_bands(self) -> list[int]:
        """Indices of the bands that hold light; a height band has no colour to change."""
        return [index for index, band in enumerate(self.bands) if band not in ("height", "elevation")]


@dataclass(frozen=True)
class Progress:
    """The progress of training: ``step`` of ``steps``, counted from 0."""

    step: int
    steps: int

    @property
    def fraction(self) -> float:
        """The share of the steps that is done, from 0 to below 1."""
        return self.step / self.steps


class _Absent:
    """Placeholder for a batch that `needs` does not request; any use of it raises a MethodError."""

    def __init__(self, message: str) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        raise MethodError(self._message)


LossOf = Callable[[Callable[[TargetBatch], Tensor]], float]
"""Takes a prediction, and gives its mean cross-entropy over a fixed sample of source validation."""

SEALED = (
    "step_losses",
    "second_step_losses",
    "checked_logits",
    "require_logits",
    "segmentation_loss",
    "learn",
    "gradients",
    "generator",
    "change_features",
)


class Method(nn.Module):
    """Base of all methods; see the module's docstring for the hooks.

    Args:
        network: maps a `SourceBatch` or `TargetBatch` of raw images to logits (N, classes, H, W) float32; with
            ``return_features=True`` to (logits, deepest features (N, D, h, w) of the encoder). Its encoder's stages are
            the modules ``network.stages``, shallowest first; ``network.model`` has an ``encoder`` and a
            ``segmentation_head``, and ``network.mean`` (1, C, 1, 1) is the source's; where it sees series,
            ``network.series_mean`` and ``series_std`` (B, 1, 1) are those of the source's. Where the method starts from
            the source, it has its weights.
        task: classes, bands and source domains.
        hyperparameters: an instance of the class's own ``Hyperparameters``; None for the defaults.
        seed: address of all of the method's own draws.
    """

    needs: ClassVar[Needs] = Needs.SOURCE_LABELS
    is_control: ClassVar[bool] = False  # the one that all others are compared with, and some start from
    is_target_control: ClassVar[bool] = False  # the one that sees target images without a loss on them
    control_for: ClassVar[str] = ""  # of a control that belongs into every published table: what it shows, in words
    depends_on_batch: ClassVar[bool] = False  # whether what is predicted for a patch hangs on the rest of its batch
    needs_metadata: ClassVar[bool] = False  # whether it has nothing to go by where no date, place and camera is known
    needs_series: ClassVar[bool] = False  # whether it has nothing to go by where the network sees no series
    series_use: ClassVar[SeriesUse] = SeriesUse.NO_CHANGE  # what it does to the series beside the images it changes
    constant_rate: ClassVar[bool] = False  # whether the recipe's schedule is not for it
    validations: ClassVar[int] = 20  # calls of validate(), evenly spaced over a training

    @dataclass(frozen=True)
    class Hyperparameters:
        """None."""

    def __init__(self, network: nn.Module, task: Task, hyperparameters: Any = None, seed: int = 0) -> None:
        super().__init__()
        self.network: Any = network  # typed as Any: its attributes are those that the docstring names
        self.task = task
        # Typed as Any because each subclass declares fields of its own.
        self.hyperparameters: Any = self.Hyperparameters() if hyperparameters is None else hyperparameters
        self.seed = seed
        self.take_gradient: Callable[[Tensor], Tensor] | None = None  # the engine's, while it takes a step
        self.progress = Progress(0, 1)  # of this step, or of the batch in the stream; the engine keeps it
        self.setup()
        self.second_network: Any = self.make_second_network()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, value in (("is_control", False), ("is_target_control", False), ("control_for", "")):
            setattr(cls, name, vars(cls).get(name, value))  # what builds on a control is none
        for name in SEALED:
            if name in vars(cls):
                raise MethodError(f"{cls.__name__} overrides the sealed method {name}(); override a hook instead")
        if not is_dataclass(cls.Hyperparameters):
            raise MethodError(f"{cls.__name__}.Hyperparameters must be a frozen dataclass")

    # ------------------------------------------------------------------ hooks

    def setup(self) -> None:
        """Change layers of ``self.network``, freeze weights, add modules (``self.head = ...``) or buffers; once.

        Draws from torch's global generator, such as the weights of a new module, are addressed by the seed.
        """

    def sampling_weights(self, class_pixels: Tensor) -> Tensor | None:
        """Return how often each labelled patch is drawn; None for every domain equally often.

        Args:
            class_pixels: (n, classes) int64, pixels of each class in each patch of the labelled pool.

        Returns:
            (n,) non-negative weights, of any sum above 0.
        """
        return None

    def augment(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> tuple[SourceBatch, TargetBatch]:
        """Change the input batches; return new ones, the given ones are shared."""
        return source, target

    def fuse(self, stage: str, features: Tensor) -> Tensor:
        """Change the features (N, D, h, w) that leave a stage of the encoder, while training and at test time."""
        return features

    def perturb(self, stage: str, features: Tensor) -> Tensor:
        """Change the features (N, D, h, w) that leave a stage of the encoder, in training mode only."""
        return features

    def losses(self, source: SourceBatch, target: TargetBatch, progress: Progress) -> dict[str, Tensor]:
        """Return named scalar losses, already weighted; their sum is minimised over what the method trains.

        A batch that ``needs`` does not request raises `MethodError` when it is used.
        """
        raise MethodError(f"{type(self).__name__} needs {self.needs.value}, and has no losses()")

    def optimizer(self) -> torch.optim.Optimizer | None:
        """Return an optimiser of its own for what it trains; None for the recipe's, which is the same for all."""
        return None

    def make_second_network(self) -> nn.Module | None:
        """Return another network that learns apart from the first one, with an optimiser and losses of its own.

        It is for a discriminator, and as well for a head that must not teach the network, such as a probe of what the
        features know. It is kept as ``self.second_network``. While ``losses`` is computed its weights are fixed, but
        gradients pass through it; then it takes its own step by ``second_losses``:

            def make_second_network(self): return nn.Conv2d(len(self.task.classes), 1, kernel_size=1)
            def second_losses(self, progress): return {"head": self.second_network(self.kept).square().mean()}

        A head that learns together with the network, only faster, is a module made in ``setup`` and a second group of
        the optimiser that ``optimizer`` returns.
        """
        return None

    def second_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the second network's optimiser (Adam at 1e-4, betas 0.9, 0.99, as AdaptSegNet, Tsai et al. 2018)."""
        return torch.optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.99))

    def second_losses(self, progress: Progress) -> dict[str, Tensor]:
        """Return named scalar losses of the second network, after the first one's step, on what ``losses`` kept."""
        return {}

    def after_step(self, progress: Progress) -> None:
        """Touch the weights after each optimiser step."""

    def validate(self, loss_of: LossOf, progress: Progress) -> None:
        """Note the loss of the current weights; called ``validations`` times, in eval mode.

        Not called on methods that start from the source model: they have no source data.
        """

    def predict(self, batch: TargetBatch) -> Tensor:
        """Return logits (N, classes, H, W) for test patches; everything is in eval mode, and no gradient is kept."""
        logits: Tensor = self.network(batch)
        return logits

    def predict_source(self, batch: TargetBatch) -> Tensor:
        """Return logits for patches of source validation: as `predict`, but where a method treats the sides apart."""
        return self.predict(batch)

    def adapt(self, batch: TargetBatch) -> None:
        """Learn from a batch of the test stream that was predicted just before (``Needs.TEST_STREAM`` only).

        The stream comes once, in the order of date and zone; gradients are on, and everything is in eval mode.
        """

    def state(self) -> dict[str, Any]:
        """Return what a later step depends on besides modules, parameters and buffers, for an interrupted training.

        Returns:
            numbers, texts and tensors, and lists, tuples and dictionaries of these.
        """
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave, after the modules, parameters and buffers; tensors come on the CPU."""

    # ------------------------------------------------------------------ sealed

    @final
    def segmentation_loss(self, batch: SourceBatch, logits: Tensor | None = None) -> Tensor:
        """Return the cross-entropy averaged over the valid pixels of the batch, 0 if there are none.

        Where the config has an auxiliary loss of the series (``series_loss``), it is added, if the network's last pass
        on labelled patches was on these.

        Args:
            batch: images and labels.
            logits: the network's output on them, where it is already there.
        """
        if logits is None:
            logits = self.network(batch)
        total = F.cross_entropy(logits, batch.labels, ignore_index=IGNORE, reduction="sum")
        loss = total / (batch.labels != IGNORE).sum().clamp(min=1)
        auxiliary_loss = getattr(self.network, "auxiliary_loss", None)  # a network of the method's own has none
        auxiliary = auxiliary_loss(batch) if auxiliary_loss else None
        return loss if auxiliary is None else loss + auxiliary

    @final
    def learn(self, loss: Tensor) -> Tensor:
        """Take the gradient of one of the losses now, and return the loss without what was kept for it.

        For a loss with a pass of its own through the network: its memory is free before the next pass, so that two need
        no more of it than one. Its gradient is that of the sum all the same.

            return {"segmentation": self.learn(self.segmentation_loss(source)), "entropy": ...}
        """
        return loss if self.take_gradient is None else self.take_gradient(loss)

    gradients = staticmethod(gradients_of)

    @final
    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator for one draw of the current step (see :mod:`methods.parts.randomness`)."""
        return torch_generator(self.seed, type(self).__name__, purpose, self.progress.step)

    @final
    def change_features(self, stage: str, features: Tensor) -> Tensor:
        """Return the features of a stage of the encoder as `perturb` changes them; called by the engine."""
        features = self.fuse(stage, features)
        return self.perturb(stage, features) if self.training else features

    @final
    def step_losses(
        self, source: SourceBatch | None, target: TargetBatch | None, progress: Progress
    ) -> dict[str, Tensor]:
        """Run the input hook and the losses of one step; the engine's only entrance.

        Raises:
            MethodError: if other batches than ``needs`` requests were passed, or a hook gave something
                else than it should.
        """
        batches: list[Any] = []
        for kind, batch, wanted in (
            ("labelled patches", source, self.needs.trains_on_labels),
            ("target images", target, self.needs.trains_on_target),
        ):
            if (batch is not None) != wanted:
                passed = "were not passed" if wanted else "were passed"
                raise MethodError(f"{type(self).__name__} needs {self.needs.value}, and {kind} {passed}")
            given = f"it is given no {kind}; `needs` says what it sees"
            absent = _Absent(f"{type(self).__name__} needs {self.needs.value}: {given}")
            batches.append(absent if batch is None else batch)
        self.progress = progress
        changed = require_batches(type(self), self.augment(batches[0], batches[1], progress))
        return require_losses(type(self), "losses", self.losses(*changed, progress))

    @final
    def second_step_losses(self, progress: Progress) -> dict[str, Tensor]:
        """Return the losses of the second network; there must be some where there is one.

        Raises:
            MethodError: there are none, or they are no named scalars.
        """
        return require_losses(type(self), "second_losses", self.second_losses(progress))

    @final
    def checked_logits(self, batch: TargetBatch) -> Tensor:
        """Return the logits of `predict`, checked; the engine calls nothing else.

        Raises:
            MethodError: these are not logits (N, classes, H, W).
        """
        return self.require_logits(self.predict(batch), batch)

    @final
    def require_logits(self, logits: Any, batch: TargetBatch) -> Tensor:
        """Return what was predicted for a batch, if these are logits; a `MethodError` else."""
        return require_logits(type(self), logits, batch.images, len(self.task.classes))
