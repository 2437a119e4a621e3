"""Measure what a step of each method costs, on the network that the baseline of FLAIR has.

python results/scripts/method_costs.py docs/methods/costs.json
"""

import argparse
import gc
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from benchmark.common.console import FileBar, print_rows
from benchmark.conformance.cost import cost_of
from benchmark.conformance.costs import Cost, write_costs
from benchmark.conformance.fixtures import RECIPE, Fixtures
from benchmark.conformance.subject import Subject
from benchmark.experiments.labels import control_label
from benchmark.models.segmentation import NetworkSettings
from methods.base import Method
from methods.registry import available, find

RESNET = replace(RECIPE, network=NetworkSettings(encoder="resnet34"), crop=64)
WITH_SERIES = replace(RESNET, network=replace(RESNET.network, series="late"))


def measure_methods(
    methods: Mapping[str, type[Method]],
    control: type[Method],
    pairs: int = 5,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Cost]:
    """Return the cost of each method with its defaults: U-Net on ResNet-34, 4 patches of 64 pixels, one CPU thread.

    What needs series is measured with a U-TAE beside that network, and so is its source-only.

    Args:
        control: source-only.
        pairs: number of pairs of steps, the method's and source-only's in turn.
        progress: called with (methods done, methods in all).
    """
    torch.set_num_threads(1)
    costs = {}
    with tempfile.TemporaryDirectory(prefix="landshift-bench-") as folder:
        plain, with_series = (
            Fixtures(Path(folder) / name, control, recipe, patch_size=RESNET.crop)
            for name, recipe in (("plain", RESNET), ("series", WITH_SERIES))
        )
        for number, (name, method) in enumerate(methods.items()):
            fixtures = with_series if method.needs_series else plain
            costs[name] = cost_of(Subject(method, None, fixtures), pairs)
            gc.collect()  # a trainer and its method refer to each other: several networks a method would pile up
            progress(number + 1, len(methods))
    return costs


def main() -> None:
    """Measure all methods, print the costs, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="FILE", help="where to write them (JSON)")
    output = parser.parse_args().output
    with FileBar("measuring methods") as bar:
        costs = measure_methods(available(), find(control_label()), progress=bar)
    write_costs(output, costs)
    print_rows(
        ("method", "time of a step", "activations"),
        [(name, f"{cost.time:.2f}", f"{cost.activations:.2f}") for name, cost in costs.items()],
    )
    print(f"over source-only's, on U-Net with ResNet-34; written to {output}")


if __name__ == "__main__":
    main()
