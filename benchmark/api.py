"""The Python interface: `import landshift` re-exports what is here."""

import tempfile
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmark.common.errors import LandshiftError
from benchmark.conformance import Result, check_method
from benchmark.reporting.results import Results
from benchmark.training.config import TrainingConfig, make_recipe
from methods import registry
from methods.base import Method
from protocols.base import Fold, Protocol

if TYPE_CHECKING:
    from benchmark.experiments.jobs import Bench
    from benchmark.experiments.single import TrainedModel

MethodSpec = str | type[Method] | tuple[str | type[Method], Mapping[str, Any]]
"""A method: its name, ``name[hyperparameter=value,...]``, a class, or one of these with hyperparameters."""

STORES = Path(".landshift/stores")


def run(
    protocol: str | Path,
    methods: Sequence[MethodSpec] | None = None,
    *,
    seeds: Sequence[int] = (0,),
    folds: Sequence[str] = (),
    config: TrainingConfig | str = "tiny",
    data: str | Path | None = None,
    results: str | Path = "results",
    stores: str | Path = STORES,
    workers: int = 1,
    accelerator: str = "auto",
    partial: bool = False,
    mixed: bool = False,
    quiet: bool = False,
) -> Results:
    """Train methods under a protocol, and return the comparison.

    What the results folder holds already is not trained again; an interrupted call goes on where it was.

    Args:
        protocol: its name, or the path of a TOML file.
        methods: methods to be compared; None for all that landshift has. A class of a notebook or script is trained in
            this process, whatever `workers` says.
        seeds: non-negative integers; every method is trained once for each fold and seed.
        folds: names of some folds; empty for all.
        config: the training that all methods share, or the name of a preset.
        data: folder of the data set, or a ``.toml`` that describes one; None for its default place.
        results: folder of the results.
        stores: folder of the decoded patches.
        workers: processes that train side by side.
        accelerator: Lightning Fabric's: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        partial: allow data that lack some of what the protocol names.
        mixed: allow runs of different versions of code, packages or processors in one comparison.
        quiet: print nothing.

    Raises:
        LandshiftError, MethodError, ProtocolError: with one line that says what is wrong.
    """
    from benchmark.common.console import print_line, silence
    from benchmark.experiments.compare import measure_pixels, train_comparison
    from benchmark.experiments.engines import Local
    from benchmark.experiments.labels import parse_label
    from benchmark.experiments.request import key_of

    labels = list(registry.available()) if methods is None else [label_of(method) for method in methods]
    folds = [unicodedata.normalize("NFC", fold) for fold in folds]
    for label in labels:
        parse_label(label)  # a wrong name or value is an error before any data are read
    with silence(quiet), _one_thread():
        if workers > 1 and any(label.startswith("__main__:") for label in labels):
            print_line("one worker: only this process knows a class of a notebook or script; one in a file has more")
            workers = 1
        bench = open_bench(protocol, config, data, results, stores, accelerator, partial=partial)
        engine = Local(workers, (), wait=True)
        _, problem = train_comparison(bench, labels, seeds, folds, engine, print_line, mixed=mixed)
        if problem:
            warnings.warn(problem, stacklevel=2)
        measure_pixels(bench, folds, print_line)
    return Results.load(results, str(protocol), key_of(bench), mixed=mixed, partial=partial)


def load_results(
    results: str | Path = "results",
    protocol: str = "",
    comparison: str = "",
    *,
    rule: str = "",
    mixed: bool = False,
    partial: bool = False,
) -> Results:
    """Return a comparison of a results folder.

    Args:
        results: the folder.
        protocol: its name; "" where the folder holds comparisons of one protocol alone.
        comparison: its key; "" for the newest.
        rule: selection rule that chooses the checkpoints; "" for the one that each run went by.
        mixed: allow runs of different versions of code, packages or processors.
        partial: the value that `run` was given.

    Raises:
        TrackingError: there is none, or it is not clear which is meant.
    """
    return Results.load(results, protocol, comparison, rule=rule, mixed=mixed, partial=partial)


def train(
    method: MethodSpec,
    protocol: str | Path,
    fold: str,
    seed: int = 0,
    *,
    config: TrainingConfig | str = "tiny",
    data: str | Path | None = None,
    stores: str | Path = STORES,
    accelerator: str = "auto",
    partial: bool = False,
    quiet: bool = False,
) -> "TrainedModel":
    """Train one method on one fold in this process, and return the model; nothing is written to a results folder.

    A method that starts from a source model trains source-only first. The arguments are those of `run`.
    """
    from benchmark.common.console import silence
    from benchmark.experiments.single import train_model

    with tempfile.TemporaryDirectory(prefix="landshift-") as folder, silence(quiet), _one_thread():
        bench = open_bench(protocol, config, data, folder, stores, accelerator, partial=partial)
        return train_model(bench, label_of(method), fold, seed)


def map_images(
    run: str,
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    results: str | Path = "results",
    protocol: str = "",
    comparison: str = "",
    mosaic: str = "",
    coding: str = "masks",
    probabilities: bool = False,
    window: int | None = None,
    margin: int | None = None,
    workers: int | None = None,
    accelerator: str = "auto",
    no_crs: bool = False,
    date: str = "",
    quiet: bool = False,
) -> list[Path]:
    """Predict images of any size with a finished run, as georeferenced maps; see the guide on maps.

    Args:
        run: first characters of its id; or ``best:METHOD`` or ``best:METHOD@FOLD`` for the method's run with the best
            mean IoU on source validation.
        images: a file, folder or pattern, or several; each image has a map of its own.
        output: folder of the maps.
        results: folder of the results.
        protocol, comparison: which one ``best:`` is about, where the folder has several.
        mosaic: name of the one map of all images, which are tiles of it; "" for a map of each.
        coding: values of the maps: ``masks``, as in the masks that were learned from, or ``cosia``.
        probabilities: write the percentages of all classes, too.
        window, margin: sides of what is predicted at once, and of what of it is not kept, in pixels; None to choose.
        workers: processes that share the blocks; None for one a GPU, or one.
        accelerator: Lightning Fabric's: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        no_crs: take images without a place on the earth, too.
        date: when the images were taken, if their files do not say it.
        quiet: print nothing.

    Returns:
        the paths of the maps of classes.

    Raises:
        LandshiftError, MethodError: with one line that says what is wrong.
    """
    from benchmark.common.console import print_line, silence
    from benchmark.experiments.results import ResultsFolder
    from benchmark.maps.predict import make_maps
    from benchmark.maps.reading import images_of
    from benchmark.maps.trained import find_run
    from benchmark.maps.workers import MapOptions

    folder = ResultsFolder(Path(results))
    options = MapOptions(coding, probabilities, window, margin, workers, accelerator, no_crs, date)
    with silence(quiet):
        record = find_run(folder, run, protocol, comparison)
        places = [images] if isinstance(images, str | Path) else images
        paths = images_of([Path(place) for place in places], mosaic)
        return make_maps(folder, record, paths, Path(output), options, print_line)


def list_methods() -> pd.DataFrame:
    """Return the methods that landshift finds: name, what each sees, and its idea in one line."""
    rows = [
        (name, method.needs.value, (method.__doc__ or "").strip().partition("\n")[0])
        for name, method in registry.available().items()
    ]
    return pd.DataFrame(rows, columns=["method", "sees", "idea"]).set_index("method")


def list_protocols() -> pd.DataFrame:
    """Return the protocols that come with landshift: name, version, data set and title."""
    from protocols.files import load, names

    rows = [(one.name, one.version, one.dataset, one.title) for one in map(load, names())]
    return pd.DataFrame(rows, columns=["protocol", "version", "dataset", "title"]).set_index("protocol")


@dataclass(frozen=True)
class LoadedProtocol:
    """A protocol with the folds that it cuts from a data set.

    Attributes:
        protocol: what its file says: title, description, confounds, version.
        folds: folds by name, with the patch ids of each part.
    """

    protocol: Protocol
    folds: Mapping[str, Fold] = field(repr=False)

    @property
    def sizes(self) -> pd.DataFrame:
        """Patches of each part of each fold."""
        rows = {name: {part: len(ids) for part, ids in fold.parts.items()} for name, fold in self.folds.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("fold")


def load_protocol(protocol: str | Path, data: str | Path | None = None, *, partial: bool = False) -> LoadedProtocol:
    """Return a protocol with its folds.

    Args:
        protocol: its name, or the path of a TOML file.
        data: see `run`.
        partial: allow data that lack some of what the protocol names.
    """
    from benchmark.data.datasets import open_catalog
    from protocols.cutting import cut
    from protocols.files import load

    loaded = load(str(protocol), partial=partial)
    _prepare_world(loaded, data)
    patches = open_catalog(loaded.dataset, Path(data) if data else None).patches
    return LoadedProtocol(loaded, {fold.name: fold for fold in cut(loaded, patches)})


class MethodCheck(list[Result]):
    """The checks of a method, one `Result` each."""

    @property
    def table(self) -> pd.DataFrame:
        """The checks as a table: status (pass, fail, not applicable), and why or what was measured."""
        rows = [(result.check, result.status, result.why) for result in self]
        return pd.DataFrame(rows, columns=["check", "status", "why"]).set_index("check")

    def raise_if_failed(self) -> None:
        """Raise LandshiftError where a check fails."""
        if failed := [f"{result.check}: {result.why}" for result in self if result.status == "fail"]:
            raise LandshiftError("; ".join(failed))

    def __repr__(self) -> str:
        return str(self.table.to_string())

    def _repr_html_(self) -> str:
        return str(self.table.to_html())


def check(method: MethodSpec) -> MethodCheck:
    """Check that a method keeps the contract, on a small synthetic world; takes some seconds.

    Raises:
        MethodError: there is no such method or hyperparameter.
    """
    from benchmark.conformance import Fixtures
    from benchmark.experiments.labels import control_label, parse_label

    setting = parse_label(label_of(method))
    with tempfile.TemporaryDirectory(prefix="landshift-check-") as folder, _one_thread():
        fixtures = Fixtures(Path(folder), registry.find(control_label()))
        return MethodCheck(check_method(setting.method, setting.hyperparameters, fixtures))


def label_of(method: MethodSpec) -> str:
    """Return a method as the command line and the tables write it."""
    if isinstance(method, tuple):
        name, values = label_of(method[0]), ",".join(f"{key}={value}" for key, value in method[1].items())
        return f"{name}[{values}]" if values else name
    return method if isinstance(method, str) else registry.address_of(method)


def open_bench(
    protocol: str | Path,
    config: TrainingConfig | str,
    data: str | Path | None,
    results: str | Path,
    stores: str | Path,
    accelerator: str,
    *,
    partial: bool,
) -> "Bench":
    """Open the data of a protocol, see `run`; the synthetic world is made where it is missing."""
    from benchmark.common.console import FileBar
    from benchmark.experiments.jobs import Bench, ExperimentPlan
    from protocols.files import load

    _prepare_world(load(str(protocol), partial=partial), data)
    recipe = make_recipe(config, {}) if isinstance(config, str) else config
    place = Path(data) if data else None
    plan = ExperimentPlan(str(protocol), place, Path(results), Path(stores), recipe, accelerator, partial)
    with FileBar("decoding files") as decoding:
        return Bench(plan, decoding)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, as workers do: sums in another order are other bits."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _prepare_world(protocol: Protocol, data: str | Path | None) -> None:
    from benchmark.data.default_world import prepare_world

    if protocol.dataset == "world" and data is None:
        prepare_world()
