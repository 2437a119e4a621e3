"""Jobs: one training each, named by everything its result depends on."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.catalog import COLUMNS, Catalog
from benchmark.data.classes import slug
from benchmark.data.datasets import open_catalog
from benchmark.data.metadata import cameras_of, metadata_of
from benchmark.data.series.patches import PatchSeries, open_patch_series
from benchmark.data.store import Store, open_store
from benchmark.evaluation.selection import DEFAULT_RULE
from benchmark.experiments.identity import comparison_of, identity_of
from benchmark.experiments.labels import control_label, parse_label
from benchmark.experiments.listing import Job as Job
from benchmark.experiments.listing import chosen_folds, list_jobs, reason_to_skip, wanted_labels
from benchmark.experiments.provenance import Provenance, code_version
from benchmark.models.packaged import PACKAGED, packaged_digest
from benchmark.models.segmentation import check_network
from benchmark.models.settings import modality_of, name_of_network
from benchmark.tracking import DatasetFact, Fact
from benchmark.training.config import TrainingConfig, as_written
from benchmark.training.devices import make_fabric
from benchmark.training.fold_data import FEW, FoldData, Part
from methods.base import Method, Needs, Task
from methods.sources import code_digest
from protocols.base import Fold, Protocol, fingerprint
from protocols.cutting import cut
from protocols.files import load
from protocols.ground import check_ground
from protocols.nested import nested_folds

if TYPE_CHECKING:
    import pandas as pd

LONGEST_HELD_OUT = 500  # characters of a fact; MLflow shows it in one line, and keeps 6,000


@dataclass(frozen=True)
class ExperimentPlan:
    """All that a process needs to run any job of a comparison; small enough to send.

    Attributes:
        protocol: name, or path of a TOML file.
        data: folder of the data set, or a description (.toml) of one; None for its default place.
        results: folder of the MLflow store.
        stores: folder of the decoded patches.
        recipe: the training that all methods share.
        accelerator: Lightning Fabric's; no part of a job's identity.
        partial: whether the data may lack what the protocol names.
        save_every: seconds between two savepoints of a training, from which it goes on where it is interrupted.
    """

    protocol: str
    data: Path | None
    results: Path
    stores: Path
    recipe: TrainingConfig
    accelerator: str = "auto"
    partial: bool = False
    save_every: float = 60.0


class Bench:
    """A plan with its data open: protocol, catalog, store and folds.

    Args:
        plan: plan of the runs.
        progress: called with (files done, files in all) while patches are decoded.

    Raises:
        DataError, ProtocolError: the data or the protocol is wrong, or two domains would share the names of metrics.
    """

    def __init__(self, plan: ExperimentPlan, progress: Any = None) -> None:
        self.plan = plan
        self.protocol: Protocol = load(plan.protocol, partial=plan.partial)
        whole = open_catalog(self.protocol.dataset, plan.data)
        alike = Counter(slug(domain) for domain in whole.domain.unique())
        if twice := [name for name, count in alike.items() if count > 1]:
            raise DataError(f"dataset {whole.name}: several domains would be called {twice[0]!r} in MLflow")
        self.folds: dict[str, Fold] = {fold.name: fold for fold in cut(self.protocol, whole.patches)}
        used = {patch for fold in self.folds.values() for ids in fold.parts.values() for patch in ids}
        # Domains that no fold uses are neither decoded nor part of what the result depends on.
        self.catalog: Catalog = whole.of_domains(whole.domain[whole.patches["id"].isin(used)])
        self.store: Store = open_store(self.catalog, plan.stores, progress)
        view = plan.recipe.series_view
        self.series: PatchSeries | None = (
            open_patch_series(self.catalog, self.store.ids, plan.stores, view, progress) if view else None
        )
        check_ground(self.protocol, self.folds.values(), self._ground())

    def _check_labelled(self, folds: Sequence[str]) -> None:
        """Raise `DataError` where a part of one of these folds that needs labels has no labelled pixel."""
        for fold in map(self.folds.__getitem__, folds):
            for part in ("source_train", "source_val", "target_test"):
                ids = list(fold.parts[part])
                if not self.store.class_counts(self.store.rows(ids))[:, :-1].any():
                    raise DataError(
                        f"{self.protocol.label}, fold {fold.name}: {part} needs labels, and no pixel of its {len(ids)} "
                        f"patches, such as {ids[0]}, has one: all are ignored, without data or of no class. Label "
                        "some, or leave these patches out (exclude)"
                    )

    def _ground(self) -> "pd.DataFrame":
        """Return what shows the ground of each patch, see `check_ground`."""
        zones = self.catalog.patches.set_index("id")[["zone", "place"]]
        rows = self.store.rows(zones.index.tolist()).tolist()
        images, masks = ([keys[row] for row in rows] for keys in (self.store.image_keys, self.store.mask_keys))
        ground = zones.assign(image=images, mask=masks)
        covered = self.catalog.footprints
        return ground if covered is None else ground.join(covered)

    @cached_property
    def fingerprint(self) -> str:
        """The digest of the folds."""
        return fingerprint(list(self.folds.values()), partial=self.protocol.partial)

    @cached_property
    def nested(self) -> dict[str, dict[str, Fold]]:
        """The folds inside each fold that hold out one of its source domains (`protocols.nested`)."""
        patches = self.catalog.patches
        return {
            name: {inner.name: inner for inner in nested_folds(self.protocol, fold, patches)}
            for name, fold in self.folds.items()
        }

    def fold(self, name: str) -> Fold:
        """Return a fold, or one inside a fold."""
        if name in self.folds:
            return self.folds[name]
        return next(inner[name] for inner in self.nested.values() if name in inner)

    @cached_property
    def task(self) -> Task:
        """The task of the catalog: classes and bands."""
        return Task(tuple(self.catalog.classes.names), self.catalog.bands)

    def check_settings(self, *, device: bool = True) -> None:
        """Initialise the device and build the network once, to fail early on invalid settings.

        Args:
            device: whether the jobs run on this machine; what another one has is unknown here.

        Raises:
            SettingsError: there is no such accelerator or precision.
            NetworkError: the network cannot be built.
        """
        if device:
            self._check_device()
        recipe = self.plan.recipe
        series = self.fold_data(next(iter(self.folds))).series_input() if self.series else None
        check_network(recipe.network, len(self.catalog.bands), len(self.task.classes), recipe.crop, series)

    def _check_device(self) -> None:
        plan = self.plan
        try:
            make_fabric(plan.accelerator, plan.recipe.precision)
        except Exception as error:  # Lightning raises several kinds, one of which is its own
            wanted = f"--accelerator {plan.accelerator} --precision {plan.recipe.precision}"
            raise SettingsError(f"cannot train with {wanted}: {str(error).strip()}") from error

    def fold_data(self, name: str) -> FoldData:
        """Return a fold's parts as rows of the store."""
        patches = self.catalog.patches.assign(domain=self.catalog.domain).set_index("id")
        cameras = cameras_of(patches)
        parts = {}
        fold = self.fold(name)
        for part, members in ({**fold.parts, FEW: fold.few} if fold.few else fold.parts).items():
            ids = list(members)
            rows = patches.loc[ids]
            # A zone flown at several times has one matrix a time, so that every domain has its own result.
            zones = (rows["domain"] + "|" + rows["zone"]).to_numpy(dtype=str)
            metadata = metadata_of(rows, cameras)
            parts[part] = Part(self.store.rows(ids), rows["domain"].to_numpy(dtype=str), zones, metadata)
        return FoldData(self.store, parts, self.task, series=self.series)

    def jobs(
        self, labels: Sequence[str], seeds: Sequence[int], folds: Sequence[str] = (), *, nested: bool = False
    ) -> list[Job]:
        """Return every combination, seed after seed, so that a comparison cut short is complete for the first seeds.

        Where a method starts from the source-only run, that one is among the jobs, before it.

        Args:
            labels: methods, with hyperparameters in brackets if they are not the defaults.
            seeds: non-negative integers.
            folds: names; all if empty.
            nested: instead of each fold those inside it, for the methods that can be chosen by them.

        Raises:
            SettingsError, MethodError: an unknown fold, method or hyperparameter.
            DataError: a part of a fold that needs labels has no labelled pixel.
        """
        wanted = wanted_labels(labels, self.plan.recipe)
        names = chosen_folds(self.protocol.name, list(self.folds), folds)
        self._check_labelled(names)
        if nested:
            chosen = {label: parse_label(label).method.needs for label in wanted}
            wanted = [k for k, v in chosen.items() if not (v.is_bound or v is Needs.TEST_STREAM)]
            names = [inner for name in names for inner in self.nested[name]]
        return list_jobs(wanted, names, seeds, self.content, self._reason_to_skip)

    @cached_property
    def comparison(self) -> str:
        """Digest of what all runs of one comparison share: folds, data and recipe."""
        return comparison_of(self.shared)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """Everything that all jobs of this plan depend on."""
        # What a method or the order of the test stream may depend on: all but where a patch's pixels are.
        columns = self.catalog.patches[list(COLUMNS)].drop(columns=["image", "mask", "row", "column"])
        return {
            "protocol": self.fingerprint,
            "data": self.store.digest,
            **({"series": self.series.digest} if self.series else {}),
            "catalog": hashlib.sha256(columns.to_csv(index=False).encode()).hexdigest(),
            "classes": self.catalog.classes.names,
            "bands": self.catalog.bands,
            "recipe": recipe_content(self.plan.recipe),
        }

    def dataset_fact(self) -> DatasetFact:
        """Return the data set as MLflow shows it beside a run."""
        source = str(self.plan.data or "default")
        patches = {str(domain): int(count) for domain, count in self.catalog.domain.value_counts().items()}
        return DatasetFact(self.catalog.name, self.store.digest, source, patches)

    def content(self, label: str, fold: str, seed: int) -> dict[str, Any]:
        """Return everything the result of a job depends on; its identity is the digest of this."""
        # The fingerprint is of the protocol's own folds.
        members = {"members": fingerprint([self.fold(fold)])} if fold not in self.folds else {}
        return job_content(self.shared | members, label, fold, seed)

    def _reason_to_skip(self, method: type[Method], fold: str) -> str:
        adapt, few = list(self.fold(fold).parts["target_adapt"]), self.fold(fold).few
        patches = self.catalog.patches
        texts, numbers = patches[["date", "clock", "camera"]], patches[["x", "y", "z"]]
        known = bool((texts != "").to_numpy().any() or numbers.notna().to_numpy().any())
        labelled = not method.needs.is_bound or bool(self.store.class_counts(self.store.rows(adapt))[:, :-1].any())
        return reason_to_skip(method, self.plan.recipe.network, bool(adapt), bool(few), labelled, known)

    def shared_facts(self) -> dict[str, str | int | float]:
        """Return the facts that all runs of the comparison share."""
        recipe = asdict(self.plan.recipe)
        network = recipe.pop("network")
        return {
            "network": name_of_network(self.plan.recipe.network),
            "modality": modality_of(network["series"]),
            "encoder_weights": network["encoder_weights"] or "random",
            "encoder_depth": network["encoder_depth"],
            **recipe,
            "protocol": self.protocol.name,
            "protocol_version": self.protocol.version,
            "protocol_folds": len(self.folds),
            "fingerprint": self.fingerprint,
            "dataset": self.catalog.name,
            "dataset_digest": self.store.digest,
            "class_set": self.catalog.classes.name,
            "comparison": self.comparison,
            "code_version": code_version(),
        }

    def facts(self, job: Job) -> dict[str, Fact]:
        """Return the facts that label a run, for the charts and the search of the MLflow UI.

        Of a fold that holds out many places, they are a tuple.
        """
        setting = parse_label(job.label)
        method = setting.method
        trial: dict[str, str | int] = {"study": job.trial.method, "trial": job.trial.setting} if job.trial else {}
        held_out = {"place": "none", "time": "none"} | dict(self.fold(job.fold).held_out)
        return {
            "method": job.label,
            "needs": method.needs.value,
            "fold": job.fold,
            **{f"held_out_{column}": _names(value) for column, value in held_out.items()},
            "seed": job.seed,
            "method_digest": code_digest(method),
            "identity": job.identity,
            "rule": selection_rule(method),
            **self.shared_facts(),
            **Provenance.here().facts,
            "learning_rate": setting.recipe(self.plan.recipe).learning_rate,
            **self._inside(job.fold),
            **trial,
        } | {f"hp/{name}": value for name, value in asdict(setting.hyperparameters).items()}

    def _inside(self, name: str) -> dict[str, str | int]:
        """Return of a fold inside a fold which it is, and how many there are."""
        if name in self.folds:
            return {}
        return next({"inside": fold, "inside_of": len(all_)} for fold, all_ in self.nested.items() if name in all_)


def _names(held_out: str) -> str | tuple[str, ...]:
    """Return held-out values as a fold joins them; apart where the text is too long for a table."""
    return held_out if len(held_out) <= LONGEST_HELD_OUT else tuple(held_out.split("+"))


def selection_rule(method: type[Method]) -> str:
    """Return the rule that chooses the headline's checkpoint.

    For a bound it is the last step: source validation says nothing of a network trained on the target. So it is for a
    method that starts from the source model, since it has no source data to validate on.
    """
    return "last-step" if method.needs.is_bound or method.needs.starts_from_source else DEFAULT_RULE


def recipe_content(recipe: TrainingConfig) -> dict[str, Any]:
    """Return what of a recipe a result depends on. Weights from a file are known by their bytes, wherever it is.

    Settings of series are left out where the network sees none.

    Raises:
        NetworkError: the recipe starts from packaged weights that are not installed.
    """
    values = as_written(recipe)
    weights = Path(values["network"]["encoder_weights"])
    if recipe.network.encoder_weights == PACKAGED:
        values["network"]["encoder_weights"] = packaged_digest(recipe.network.encoder)
    elif weights.is_file():
        values["network"]["encoder_weights"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return values


def job_content(shared: Mapping[str, Any], label: str, fold: str, seed: int) -> dict[str, Any]:
    """Return everything the result of a job depends on, with the installed methods.

    Args:
        shared: `Bench.shared`, of this plan or as an earlier run wrote it down.
    """
    setting = parse_label(label)
    method = setting.method
    rate = {} if setting.learning_rate is None else {"learning_rate": setting.learning_rate}
    content = {
        **shared,
        "recipe": {**shared["recipe"], **rate},
        "fold": fold,
        "method": label.partition("[")[0],
        "method_digest": code_digest(method),
        "hyperparameters": asdict(setting.hyperparameters),
        "seed": seed,
    }
    if method.needs.starts_from_source:
        content["parent"] = identity_of(job_content(shared, control_label(), fold, seed))
    return content
