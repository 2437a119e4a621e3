"""A tiny world on disk, its catalog and store, a recipe that trains in a second, and a plan of these."""

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from benchmark.data.catalog import Catalog
from benchmark.data.flair import read_flair
from benchmark.data.metadata import cameras_of, metadata_of
from benchmark.data.store import Store, open_store
from benchmark.data.synthetic import World, generate
from benchmark.experiments.jobs import Bench, ExperimentPlan
from benchmark.experiments.queue import Entry
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Session
from benchmark.models import segmentation as networks
from benchmark.models.segmentation import NetworkSettings
from benchmark.tracking import Client
from benchmark.training.config import TrainingConfig
from benchmark.training.fold_data import FEW, FoldData, Part
from methods.base import Task
from protocols.base import Protocol, Split
from protocols.cutting import cut

WORLD = World(places=2, times=2, zones=4, zone_side=1, patch_size=32)
OTHER = 19  # in FLAIR's masks
BUILT: dict[tuple[object, ...], torch.nn.Module] = {}  # networks, by what they are built of and the seed


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two places at two times, four zones of one 32-pixel patch each; in each mask some pixels are of no class."""
    root = tmp_path_factory.mktemp("world")
    generate(WORLD, root)
    for number, mask in enumerate(sorted(root.rglob("MSK_*.tif"))):
        _leave_out(mask, columns=1 + number % 3)
    return root


def _leave_out(mask: Path, columns: int) -> None:
    """Make the first columns of a mask "other", which counts in no loss and no metric."""
    with rasterio.open(mask, "r+") as file:
        values = file.read()
        values[..., :columns] = OTHER
        file.write(values)


@pytest.fixture(scope="session")
def catalog(world: Path) -> Catalog:
    return read_flair(world, name="tiny-world")


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="session")
def store(catalog: Catalog, stores: Path) -> Store:
    return open_store(catalog, stores)


@pytest.fixture(scope="session")
def protocol_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(
        'name = "tiny"\nversion = 1\ndataset = "world"\ntitle = "A tiny split"\ndescription = "Times."\n'
        'confounds = "Nothing."\nhold_out = ["time"]\n[split]\nfew = 1\n'
    )
    return path


@pytest.fixture(scope="session")
def data(catalog: Catalog, store: Store) -> FoldData:
    """The first fold of leaving times out."""
    protocol = Protocol("tiny", 1, "world", "t", "d", "c", hold_out=("time",), split=Split(few=1))
    fold = cut(protocol, catalog.patches)[0]
    patches = catalog.patches.assign(domain=catalog.domain).set_index("id")
    parts = {}
    for part, ids in {**fold.parts, FEW: fold.few}.items():
        rows = patches.loc[list(ids)]
        parts[part] = Part(
            store.rows(list(rows.index)),
            rows["domain"].to_numpy(dtype=str),
            (rows["domain"] + "|" + rows["zone"]).to_numpy(dtype=str),
            metadata_of(rows, cameras_of(patches)),
        )
    return FoldData(store, parts, Task(tuple(catalog.classes.names), catalog.bands))


@pytest.fixture(scope="session")
def recipe() -> TrainingConfig:
    """Four steps of a network of two small stages."""
    network = NetworkSettings(encoder="tu-test_resnet", encoder_depth=2, decoder_channels=(8, 8))
    return TrainingConfig(network=network, steps=4, batch_size=2, crop=32, checkpoints=2, learning_rate=1e-2)


@pytest.fixture(scope="session")
def plan(world, protocol_file, stores, recipe, tmp_path_factory) -> ExperimentPlan:
    results: Path = tmp_path_factory.mktemp("results")
    return ExperimentPlan(str(protocol_file), world, results, stores, recipe, accelerator="cpu")


@pytest.fixture(scope="session")
def bench(plan) -> Bench:
    return Bench(plan)


@pytest.fixture(scope="session")
def session(plan) -> Session:
    """Trains in this process."""
    return Session(plan)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the engine trains: sums in another order are other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def networks_once() -> Iterator[None]:
    """Builds each network once and then copies it, because smp takes longer to build one than the tests to train it."""
    build = networks._build

    def copied(*what):
        key = *what, torch.initial_seed()
        if key not in BUILT:
            BUILT[key] = build(*what)
        return copy.deepcopy(BUILT[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_build", copied)
        yield


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file without any run; MLflow takes seconds to create one."""
    client = Client(tmp_path_factory.mktemp("fresh"))
    assert client.api
    return client.results / "mlflow.db"


@pytest.fixture(scope="module")
def stores_copied(fresh_store: Path) -> Iterator[None]:
    """Every new results folder gets a copy of the one fresh MLflow file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.tracking.client._create", lambda file: shutil.copy(fresh_store, file))
        yield


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """An empty results folder."""
    return ResultsFolder(tmp_path / "results")


AddRun = Callable[..., str]


@pytest.fixture(scope="session")
def add_run() -> AddRun:
    """Add a job and end it without any training; returns its key."""

    def add(
        results: ResultsFolder,
        experiment: str,
        key: str,
        facts: Mapping[str, object],
        state: str = "done",
        metrics: Mapping[str, float] | None = None,
        error: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Args: state: queued, running, done, failed, pruned or interrupted."""
        texts = {name: str(value) for name, value in facts.items()}
        results.queue.add([Entry(key, "", {}, texts)], experiment)
        if state != "queued":
            claim = results.queue.claim("a worker/0", [key])
            assert claim is not None
            if state == "done":
                results.queue.finish(claim, texts, tags or {}, metrics or {})
            elif state in ("failed", "pruned"):
                results.queue.fail(claim, error, state, tags)
            elif state == "interrupted":
                results.queue.release(claim, error or "stopped")
        return key

    return add


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(0)
