"""Costs of a step of each method, and their file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Ratios to a source-only step; of a method that learns from the test stream, of an update to such a step.

    Attributes:
        time: median over pairs of steps in turn.
        activations: most bytes that autograd keeps for the backward pass at any time of the step.
    """

    time: float
    activations: float

    def __str__(self) -> str:
        return f"{self.time:.1f} times the time and {self.activations:.1f} times the activations of a source-only step"


def write_costs(path: Path, costs: Mapping[str, Cost]) -> None:
    """Write costs as JSON, for the pages about the methods."""
    rounded = {
        name: {key: round(value, 2) for key, value in asdict(cost).items()} for name, cost in sorted(costs.items())
    }
    path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


def read_costs(path: Path) -> dict[str, Cost]:
    """Return what `write_costs` wrote; nothing where there is no such file."""
    if not path.is_file():
        return {}
    return {name: Cost(**values) for name, values in json.loads(path.read_text(encoding="utf-8")).items()}
