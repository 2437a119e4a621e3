"""Provenance: what a result was computed with, besides what its job says.

The same job has the same numbers only with the same provenance. Everything that mixes runs (a table, a tuning, runs
inside folds, savepoints, a copied run) compares it by `differences`.
"""

import ast
import hashlib
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, Self

import benchmark
from benchmark.common.errors import TrackingError

PACKAGES = (
    "torch",
    "lightning-fabric",
    "segmentation-models-pytorch",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
)
"""Whose version may change a number. What reads files is not among them: the digest of the decoded patches is."""

ROOTS = (
    "benchmark.training.loop",
    "benchmark.training.target_sample",
    "benchmark.evaluation.selection",
    "benchmark.training.devices",
)
"""A result depends on these modules and on all of the package that they import."""
ENTRIES = ("benchmark.experiments.run_job", "benchmark.experiments.jobs")
"""It depends on these, too, but not on all that they import: they also log and look up runs."""


@dataclass(frozen=True)
class Provenance:
    """The code, packages and machine of a run. A field is "" where it is not known, and is then not compared.

    Attributes:
        code: version of landshift and a digest of the code that a result depends on (`code_version`).
        packages: versions of Python and of `PACKAGES`.
        processor: the system, and the kind of processor as torch uses it; sums in another order are other bits.
        device: kind of device: ``cpu``, ``mps``, or the name of a GPU.
    """

    code: str = ""
    packages: str = ""
    processor: str = ""
    device: str = ""

    @classmethod
    def here(cls, device: str = "") -> Self:
        """Return that of this process."""
        settings = environment()
        python = ".".join(settings["python"].split(".")[:2])
        return cls(code_version(), _words({"python": python, **settings["packages"]}), settings["platform"], device)

    @classmethod
    def of(cls, facts: Mapping[str, str], tags: Mapping[str, str]) -> Self:
        """Return that of a run, by its facts and tags in the store."""
        code, packages, processor = (facts.get(name, "") for name in ("code_version", "packages", "processor"))
        return cls(code, packages, processor, tags.get("device", ""))

    @property
    def facts(self) -> dict[str, str]:
        """The facts that label a run; the device is a tag, known only when the run has begun."""
        return {"code_version": self.code, "packages": self.packages, "processor": self.processor}

    def matches(self, other: "Provenance") -> bool:
        """Return whether nothing that is known of both differs."""
        return all(not (own and theirs) or own == theirs for own, theirs in _pairs(self, other))

    @property
    def key(self) -> dict[str, str]:
        """All fields, by name."""
        return asdict(self)


class Recorded(Protocol):
    """A run as the store knows it."""

    @property
    def status(self) -> str:
        """The state of the run in MLflow's words."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """The facts that label the run, by name."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of the run, by name."""
        ...


def provenance_of(run: Recorded) -> Provenance:
    """Return that of a run."""
    return Provenance.of(run.facts, run.tags)


def differences(provenances: Iterable[Provenance]) -> str:
    """Return in what runs differ, with the number of runs of each value; "" where they all match.

    For example ``code 0.1.0+ab (3), 0.1.0+cd (2); processor … (4), … (1)``. Of the packages only those are named whose
    versions differ.
    """
    provenances = list(provenances)
    texts = []
    for name in (field.name for field in fields(Provenance)):
        counts = Counter(value for one in provenances if (value := getattr(one, name)))
        if len(counts) > 1:
            short = _what_differs(list(counts)) if name == "packages" else list(counts)
            texts.append(
                f"{name} " + ", ".join(f"{words} ({n})" for words, n in zip(short, counts.values(), strict=True))
            )
    return "; ".join(texts)


def refuse_mixture(runs: Iterable[Recorded], now: Provenance) -> None:
    """Refuse to train with one provenance what would share a table or a search with finished runs of another.

    Raises:
        TrackingError: there are such runs.
    """
    finished = [provenance_of(run) for run in runs if run.status == "FINISHED"]
    if others := [other for other in finished if not other.matches(now)]:
        raise TrackingError(
            f"{len(others)} of these runs are done with another code, packages or machine than here; run: "
            f"{differences_from(now, others)}. A difference may be one of these. --results with another folder begins "
            "with an empty one; --mixed takes both into one"
        )


def environment() -> dict[str, Any]:
    """Return the versions of the packages and of Python, and the system with the kind of processor.

    The kind is the set of instructions that torch takes, since others sum in another order.
    """
    import torch  # half a second, which a command that only looks can do without

    kind = torch.backends.cpu.get_cpu_capability()
    return {
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()} {kind}",
    }


@cache
def code_version() -> str:
    """Return the version of landshift and a digest of the source that a result depends on.

    It does not change with the source of reports, commands or tracking. A method's own code has a digest in the job's
    key, and so have the patches as they were decoded and the folds as they were cut.
    """
    sources = [path.read_bytes() for _, path in sorted(_result_code().items())]
    return f"{version('landshift')}+{hashlib.sha256(bytes(1).join(sources)).hexdigest()[:8]}"


def _result_code() -> dict[str, Path]:
    """Return the files of the modules that a result depends on, by the modules' names."""
    files = {name: path for name in ENTRIES if (path := _file(name))}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in files and (path := _file(name)):
            files[name] = path
            waiting += _imports(path)
    return files


def _file(module: str) -> Path | None:
    """Return the file of a module of this package; None for others, and for the name of something inside a module."""
    top, *parts = module.split(".")
    place = Path(next(iter(benchmark.__path__))).joinpath(*parts)
    files = (place.with_suffix(".py"), place / "__init__.py") if top == "benchmark" and parts else ()
    return next((file for file in files if file.is_file()), None)


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _words(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in versions.items())


def differences_from(current: Provenance, others: Sequence[Provenance]) -> str:
    """Return in what runs differ from here, for example ``code 0.1.0+ab (3), here 0.1.0+cd``."""
    texts = []
    for name in (field.name for field in fields(Provenance)):
        present = getattr(current, name)
        counts = Counter(value for one in others if (value := getattr(one, name)) not in ("", present))
        if present and counts:
            *short, own = _what_differs([*counts, present]) if name == "packages" else [*counts, present]
            texts.append(
                f"{name} "
                + ", ".join(f"{words} ({n})" for words, n in zip(short, counts.values(), strict=True))
                + f", here {own}"
            )
    return "; ".join(texts)


def _what_differs(texts: Sequence[str]) -> list[str]:
    """Return of several lists of versions the entries that not all have."""
    lists = [text.split(", ") for text in texts]
    return [", ".join(word for word in words if not all(word in other for other in lists)) or "–" for words in lists]


def _pairs(one: Provenance, other: Provenance) -> list[tuple[str, str]]:
    return [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Provenance)]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
