"""Training: the network, its optimisers and the step that every method shares."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.common.errors import TrainingError
from benchmark.common.garbage import while_training
from benchmark.models.segmentation import build_network, set_precision, structure_of
from benchmark.training.arrival import arrival
from benchmark.training.confidence_sums import TemperatureSums
from benchmark.training.config import TrainingConfig
from benchmark.training.fold_data import FoldData, Part
from benchmark.training.losses import Log, LossBuffer, require_reach
from benchmark.training.optimizers import make_optimizer, make_scheduler
from benchmark.training.prediction import (
    Count,
    Predict,
    Scores,
    StreamScores,
    count_nothing,
    evaluate,
    evaluate_stream,
    named_metrics,
)
from benchmark.training.savepoints import write
from benchmark.training.stages import against, changes_features
from methods.base import Method, MethodError, Needs, Progress, SourceBatch, TargetBatch
from methods.parts.contract import name_of
from methods.parts.randomness import address, numpy_generator

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # half of the import time of a command that only looks

NETWORK = "network."  # begins the names of the network's weights in those of a method
VALIDATION_PATCHES = 64  # of source validation, which a method looks at while it trains


@dataclass(frozen=True)
class Checkpoint:
    """Weights after some steps: the scores on source validation, and the file that holds the weights."""

    step: int
    source_val: Scores
    file: Path


def state_of(method: Method) -> dict[str, Tensor]:
    """Return all weights and buffers of a method but its second network's: ``network.…`` and what else it made."""
    children = {name: child for name, child in method.named_children() if child is not method.second_network}
    state = {f"{name}.{key}": value for name, child in children.items() for key, value in child.state_dict().items()}
    return state | _own_tensors(method)


def network_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network among all that `state_of` gave, for a method that starts from them."""
    return {name.removeprefix(NETWORK): value for name, value in state.items() if name.startswith(NETWORK)}


def load_state(method: Method, state: Mapping[str, Tensor]) -> None:
    """Put back what `state_of` gave."""
    for name, child in method.named_children():
        if child is not method.second_network:
            prefix = f"{name}."
            child.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    with torch.no_grad():
        for name, value in _own_tensors(method).items():
            value.copy_(state[name])


def _own_tensors(method: Method) -> dict[str, Tensor]:
    return dict(method.named_parameters(recurse=False)) | dict(method.named_buffers(recurse=False))


def held_by(method: Method) -> dict[str, Any]:
    """Return all that a method holds but its second network, as `benchmark.training.savepoints.write` takes it.

    Raises:
        MethodError: ``state()`` gives what no file can hold.
    """
    extras = method.state()
    _require_plain(extras, f"{type(method).__name__}.state()")
    return {"tensors": state_of(method), "extras": extras}


def put_back(method: Method, held: Mapping[str, Any]) -> None:
    """Put back what `held_by` gave."""
    load_state(method, held["tensors"])
    method.load_state(held["extras"])


def _require_plain(value: Any, where: str) -> None:
    if type(value) in (list, tuple, dict):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _require_plain(inner, f"{where}[{key!r}]")
    elif not (isinstance(value, Tensor) or type(value) in (bool, int, float, str, type(None))):
        raise MethodError(
            f"{where} is a {type(value).__name__}; give numbers, texts and tensors, in lists, tuples or dictionaries"
        )


def evaluate_part(
    fabric: "Fabric",
    method: Method,
    data: FoldData,
    part: str,
    keep: Sequence[int] = (),
    count: Count = count_nothing,
) -> Scores:
    """Score the method's prediction on one labelled part of the fold."""
    predict = method.predict_source if part == "source_val" else method.predict
    method.eval()
    scores = evaluate(
        fabric, lambda batch: method.require_logits(predict(batch), batch), data, part, keep=keep, count=count
    )
    method.train()
    return scores


class Stepper:
    """A method with its network and optimisers on the device, and the step that all methods share.

    Attributes:
        method: method whose trained modules are wrapped for the device.
        losses: losses that are not logged yet.
        curves: (step, metrics), all that was logged.
        changed_network: description of a trained network that is not the one of the recipe; else "".

    Args:
        log: takes metrics and their step.
        weights: weights of a trained source model, for a method that starts from one.
    """

    def __init__(
        self,
        fabric: "Fabric",
        method_class: type[Method],
        hyperparameters: Any,
        data: FoldData,
        recipe: TrainingConfig,
        seed: int,
        log: Log,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        while_training()
        bands, classes = len(data.task.bands), len(data.task.classes)
        # The starting weights are the same for every method of a seed.
        network = build_network(
            recipe.network, bands, classes, *data.moments(), address(seed, "weights"), data.series_input()
        )
        if weights is not None:
            network.load_state_dict(weights)
        if changes_features(method_class) and not network.stages:
            raise TrainingError(f"{method_class.__name__} {against(recipe.network)}")
        built, size = structure_of(network), _count(network.parameters())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(address(seed, "method"))
            self.method = method_class(network, data.task_of(method_class.needs), hyperparameters, seed)
        number = _changed(self.method, built)
        self.changed_network = f"{number:,} parameters; the config's has {size:,}" if number else ""
        if changes_features(method_class):
            _let_change_features(self.method)
        self.fabric, self.data, self.recipe, self.seed = fabric, data, recipe, seed
        self.losses = LossBuffer(self.log, recipe.curve_every)
        self.curves: list[tuple[int, dict[str, float]]] = []
        self._log = log
        for child in self.method.children():
            _set_precision(child, fabric)
        self._optimizer, self._scheduler = self._set_up_training()
        self._second_optimizer = self._set_up_second()
        self._checked: set[str] = set()  # losses that were looked at
        self._learned: list[Tensor] = []  # losses of this step whose gradients are taken
        self.method.to(fabric.device).train()

    def _set_up_training(self) -> tuple[Any, Any]:
        """Return the optimiser of all that is trained but the second network, and its schedule; None if nothing is."""
        method = self.method
        if method.needs is Needs.TEST_STREAM:
            return None, None  # it learns by itself, from the stream
        second = _second_weights(method)
        trained = [weights for weights in method.parameters() if weights.requires_grad and weights not in second]
        optimizer = method.optimizer() or (make_optimizer(self.recipe, trained) if trained else None)
        if optimizer is None:
            return None, None
        scheduler = None if method.constant_rate else make_scheduler(self.recipe, optimizer)
        return self.fabric.setup_optimizers(optimizer), scheduler

    def _set_up_second(self) -> Any:
        method = self.method
        if method.second_network is None:
            return None
        return self.fabric.setup_optimizers(method.second_optimizer(method.second_network.parameters()))

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Hand metrics on, and keep them for a training that goes on from here."""
        self.curves.append((step, {name: float(value) for name, value in metrics.items()}))
        self._log(metrics, step)

    def step(self, source: SourceBatch | None, target: TargetBatch | None, progress: Progress) -> None:
        """Take one step of the network, and then one of the second network, if there is one.

        The second network's weights stay as they are in the first.

        Raises:
            MethodError: a hook gives something else than it should, or a loss that teaches nothing.
        """
        self.arrive(progress)
        method, second = self.method, self.method.second_network
        if second is not None:
            second.requires_grad_(False)
        if self._optimizer:
            self._optimizer.zero_grad(set_to_none=True)
            method.take_gradient, self._learned = self._take_gradient, []
        try:
            with self.fabric.autocast():
                losses = method.step_losses(source, target, progress)
            method.take_gradient = None
            self._descend(self._optimizer, losses, "losses")
        except MethodError as error:
            if not self.recipe.network.frozen:
                raise
            raise MethodError(f"{error}; the config's encoder is frozen, and this may be all it teaches") from error
        if second is not None:
            second.requires_grad_(True)
            with self.fabric.autocast():
                second_losses = method.second_step_losses(progress)
            self._second_optimizer.zero_grad(set_to_none=True)
            self._descend(self._second_optimizer, second_losses, "second_losses")
            losses = losses | second_losses
        method.after_step(progress)
        self.losses.add(losses, progress.step)
        if self.recipe.schedule != "plateau" and self._scheduler:
            self._scheduler.step()

    def stream(self, batch_size: int, keep: Sequence[int] = (), count: Count = count_nothing) -> StreamScores:
        """Let the method learn from the test stream, in the recipe's order; return its scores (`evaluate_stream`)."""
        method, part = self.method.eval(), "target_test"
        rounds = arrival(self.data.parts[part], self.recipe.stream_order, self.seed)
        return evaluate_stream(
            self.fabric,
            method.checked_logits,
            method.adapt,
            self.data,
            part,
            batch_size,
            keep,
            self.arrive,
            rounds,
            count,
        )

    def arrive(self, progress: Progress) -> None:
        """Address what a step, or a batch of the test stream, draws; called before anything is done with it."""
        self.method.progress = progress
        # Dropout and the like draw from torch's global generator; addressed by the step, like everything else.
        _seed_device(self.fabric.device, address(self.seed, "step", progress.step))

    def _take_gradient(self, loss: Tensor) -> Tensor:
        """Add the gradient of one of the losses of a step (`Method.learn`); return its value."""
        self._require_reach("losses", "learned", loss, self._optimizer)
        if loss.requires_grad:
            self.fabric.backward(loss)
        self._learned.append(loss.detach())
        return self._learned[-1]

    def _require_reach(self, hook: str, name: str, loss: Tensor, optimizer: Any) -> None:
        """Check once that a loss of this name reaches what is trained."""
        if name not in self._checked:
            require_reach(type(self.method), hook, name, loss, optimizer)
            self._checked.add(name)

    def _descend(self, optimizer: Any, losses: dict[str, Tensor], hook: str) -> None:
        if optimizer is None:
            return
        left = {name: loss for name, loss in losses.items() if not any(loss is each for each in self._learned)}
        for name, loss in left.items():
            self._require_reach(hook, name, loss, optimizer)
        if left:
            self.fabric.backward(sum(left.values()))  # type: ignore[arg-type]
        optimizer.step()

    def checkpoint(self, step: int, folder: Path) -> Checkpoint:
        """Score what the method predicts now on source validation, and keep all it holds."""
        method = self.method
        # Before anything is predicted, which might leave traces.
        file = write(folder, f"weights-{step:09d}", held_by(method))
        losses = TemperatureSums(self.fabric.device)
        scores = evaluate_part(self.fabric, method, self.data, "source_val", count=losses.add)
        scores = replace(scores, temperature=losses.temperature())
        self.log(named_metrics("source_val", scores.total()) | {"source_val/loss": scores.loss}, step)
        if not method.needs.starts_from_source and self.recipe.schedule == "plateau" and self._scheduler:
            self._scheduler.step(self._bound_loss() if method.needs.is_bound else scores.loss)
        return Checkpoint(step, scores, file)

    def validate(self, progress: Progress) -> None:
        """Let the method look at losses on source validation, if it wants to and sees source data."""
        method = self.method
        if not method.needs.starts_from_source and type(method).validate is not Method.validate:
            method.eval()
            method.validate(self._loss_of, progress)
            method.train()

    def _loss_of(self, predict: Predict) -> float:
        part = self.data.parts["source_val"]
        chosen = numpy_generator("validation sample").permutation(len(part.rows))[:VALIDATION_PATCHES]
        return self._loss_on(
            part.take(np.sort(chosen)), lambda batch: self.method.require_logits(predict(batch), batch)
        )

    def _bound_loss(self) -> float:
        """Return a bound's loss on target zones that it is not trained on: source validation says nothing of it."""
        self.method.eval()
        loss = self._loss_on(self.data.split_bound()[1], self.method.checked_logits)
        self.method.train()
        return loss

    def _loss_on(self, part: Part, predict: Predict) -> float:
        data = replace(self.data, parts={"looked at": part})
        return evaluate(self.fabric, predict, data, "looked at").loss

    def state(self) -> dict[str, Any]:
        """Return all that a later step depends on; the draws depend on the step's number alone."""
        optimizers = (self._optimizer, self._second_optimizer, self._scheduler)
        second = self.method.second_network
        return {
            "precision": self.fabric.strategy.precision.state_dict(),  # of 16-mixed, the scale of its gradients
            "method": held_by(self.method),
            "second_network": second.state_dict() if second is not None else {},
            "optimizers": [optimizer.state_dict() if optimizer else {} for optimizer in optimizers],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; ``state`` is not changed by what follows."""
        state = copy.deepcopy(state)
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        put_back(self.method, state["method"])
        if self.method.second_network is not None:
            self.method.second_network.load_state_dict(state["second_network"])
        optimizers = (self._optimizer, self._second_optimizer, self._scheduler)
        for optimizer, values in zip(optimizers, state["optimizers"], strict=True):
            if optimizer:
                optimizer.load_state_dict(values)


def _changed(method: Method, built: Any) -> int:
    """Return the number of parameters of a method's network, if it is another than the one that was built, else 0.

    What else of the method's own is trained and may take part in a prediction is counted, too.

    Args:
        built: `structure_of` of that.
    """
    kind, network = type(method), set(method.network.parameters())
    own = {weights for weights in method.parameters() if weights.requires_grad} - network - _second_weights(method)
    if (kind.predict, kind.fuse) == (Method.predict, Method.fuse):
        own = set()
    return _count(network | own) if own or structure_of(method.network) != built else 0


def _second_weights(method: Method) -> set[nn.Parameter]:
    return set(method.second_network.parameters()) if method.second_network is not None else set()


def _let_change_features(method: Method) -> None:
    """Have the network call the method on the features that leave each stage."""
    if not hasattr(method.network, "perturbation"):
        kind = type(method)
        hook = "perturb" if kind.fuse is Method.fuse else "fuse"
        raise MethodError(
            f"{name_of(kind, hook)} changes features, but the method's own network {type(method.network).__name__} has "
            "none to give: expected one that calls self.perturbation(stage, features) where it is not None"
        )
    method.network.perturbation = method.change_features


def _set_precision(module: nn.Module, fabric: "Fabric") -> None:
    """Have a module compute in the precision of Fabric, and give what the contract says also where it is mixed.

    Fabric's own wrapper takes no batches, and no gradient but that of a step passes it (`Method.gradients`).
    """
    set_precision(module, fabric)
    convert = fabric.strategy.precision.convert_output
    module.register_forward_hook(lambda module, inputs, output: convert(output))


def _count(weights: Iterable[nn.Parameter]) -> int:
    return sum(each.numel() for each in weights)


def _seed_device(device: torch.device, seed: int) -> None:
    """Seed what a step can draw from; ``torch.manual_seed`` also formats a stack trace for each idle backend."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
