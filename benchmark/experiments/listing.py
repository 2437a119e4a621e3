"""The jobs of labels, folds and seeds: the same for a run, whose data are open, and for a plan."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Any

from benchmark.common.errors import SettingsError
from benchmark.experiments.identity import identity_of
from benchmark.experiments.labels import canonical_label, control_label, parse_label
from benchmark.experiments.trial import Trial
from benchmark.models.settings import ALONE, NetworkSettings
from benchmark.training.config import TrainingConfig
from benchmark.training.stages import against, changes_features, has_stages
from methods.base import Method, Needs, SeriesUse


@dataclass(frozen=True)
class Job:
    """One training: a method with its hyperparameters, a fold and a seed.

    Attributes:
        label: the method with its hyperparameters, for example ``adversarial-alignment[maps=softmax]``.
        fold: the fold's name.
        seed: seed of all draws.
        identity: digest of everything the result depends on; equal identities have equal results.
        skip: why it cannot be run; "" if it can.
        parent: identity of the source-only job whose weights it starts from; "" for random or pretrained ones.
        trial: what it is a trial of; None in a comparison.
    """

    label: str
    fold: str
    seed: int
    identity: str
    skip: str = ""
    parent: str = ""
    trial: Trial | None = None


def wanted_labels(labels: Iterable[str], recipe: TrainingConfig) -> list[str]:
    """Return the canonical labels of the requested rows, each once; the control comes first if a row starts from it.

    Raises:
        MethodError: an unknown method or hyperparameter.
    """
    wanted = dict.fromkeys(canonical_label(label, recipe) for label in labels)
    if any(parse_label(label).method.needs.starts_from_source for label in wanted):
        wanted = dict.fromkeys([control_label(), *wanted])
    return list(wanted)


def list_jobs(
    labels: Iterable[str],
    folds: Sequence[str],
    seeds: Iterable[int],
    content: Callable[[str, str, int], Mapping[str, Any]],
    skip: Callable[[type[Method], str], str],
) -> list[Job]:
    """Return the job of every combination, seed after seed.

    Args:
        content: everything the result of a label, a fold and a seed depends on; see `job_content`.
        skip: why a method cannot be run on a fold; "" if it can.
    """
    methods = {label: parse_label(label).method for label in labels}
    jobs = []
    for seed, fold, (label, method) in product(seeds, folds, methods.items()):
        depends = content(label, fold, seed)
        jobs.append(Job(label, fold, seed, identity_of(depends), skip(method, fold), depends.get("parent", "")))
    return jobs


def reason_to_skip(
    method: type[Method], network: NetworkSettings, adapt: bool, few: bool, masks: bool, metadata: bool = True
) -> str:
    """Return why a method cannot be run on a fold; "" if it can.

    Args:
        network: the network to be trained; it is built once, if the method changes its features.
        adapt, few: whether the fold has unlabelled target images, and labelled ones set aside.
        masks: whether a pixel of those unlabelled images is labelled after all, for the oracle.
        metadata: whether a date, a place or a camera is known of any patch.
    """
    needs = method.needs
    if needs.sees_target and not adapt:
        return f"needs {needs.value}, and the protocol has no target_adapt part"
    if needs is Needs.FEW_TARGET_LABELS and not few:
        return f"needs {needs.value}, and the protocol sets none aside"
    if needs is Needs.TARGET_LABELS and not masks:
        return f"needs {needs.value}, and no pixel of target_adapt is labelled"
    if method.needs_metadata and not metadata:
        return "needs metadata, and of no patch a date, coordinates or a camera is known"
    if method.needs_series and not network.series:
        return "needs series of satellite images, and the config's network sees none (--series)"
    if network.series == ALONE and method.series_use is SeriesUse.LEFT:
        return "changes images alone, and the config's network sees the series alone"
    if changes_features(method) and not has_stages(network):
        return against(network)
    return ""


def chosen_folds(protocol: str, folds: Sequence[str], requested: Sequence[str]) -> list[str]:
    """Return the requested folds; all if none is named.

    Raises:
        SettingsError: the protocol has no such fold.
    """
    if unknown := sorted(set(requested) - set(folds)):
        close = get_close_matches(unknown[0], folds, n=1)
        meant = f"did you mean {close[0]}? It" if close else "it"
        raise SettingsError(f"{protocol} has no fold {', '.join(unknown)}; {meant} has {', '.join(folds)}")
    return list(requested or folds)
