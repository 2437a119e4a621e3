"""landshift: which way of training survives a place or a time without labels?

    import landshift

    results = landshift.run("world-leave-times-out", ["source-only", "dann", "oracle"], workers=2)
    results.summary()

See `run`, `train`, `map`, `load_results`, `check_method`, `list_methods`, `list_protocols` and `load_protocol`; a
method of your own subclasses `Method`. The command line of the same name does the same.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import check as check_method
    from benchmark.api import list_methods, list_protocols, load_protocol, load_results, run, train
    from benchmark.api import map_images as map
    from benchmark.common.errors import LandshiftError
    from benchmark.reporting.results import Results
    from benchmark.training.config import TrainingConfig
    from methods.base import (
        IGNORE,
        Method,
        MethodError,
        Needs,
        Progress,
        SourceBatch,
        TargetBatch,
        Task,
        choice,
        switch,
        tunable,
    )

_PLACES = {
    **dict.fromkeys(
        ("run", "train", "load_results", "list_methods", "list_protocols", "load_protocol"), "benchmark.api"
    ),
    "check_method": "benchmark.api:check",
    "map": "benchmark.api:map_images",
    "Results": "benchmark.reporting.results",
    "TrainingConfig": "benchmark.training.config",
    "LandshiftError": "benchmark.common.errors",
    **dict.fromkeys(("IGNORE", "Method", "MethodError", "Needs", "Progress", "SourceBatch"), "methods.base"),
    **dict.fromkeys(("TargetBatch", "Task", "choice", "switch", "tunable"), "methods.base"),
}
__all__ = [
    "IGNORE",
    "LandshiftError",
    "Method",
    "MethodError",
    "Needs",
    "Progress",
    "Results",
    "SourceBatch",
    "TargetBatch",
    "Task",
    "TrainingConfig",
    "check_method",
    "choice",
    "list_methods",
    "list_protocols",
    "load_protocol",
    "load_results",
    "map",
    "run",
    "switch",
    "train",
    "tunable",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use: `import landshift` alone imports no torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("landshift")
    if name not in _PLACES:
        raise AttributeError(f"module 'landshift' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    value = getattr(import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if __name__ == "__main__":
    from benchmark.__main__ import program

    program()
