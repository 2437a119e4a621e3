"""What a run was computed with."""

import platform
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from benchmark.experiments import provenance as module
from benchmark.experiments.provenance import (
    PACKAGES,
    Provenance,
    code_version,
    differences,
    differences_from,
    environment,
)


def test_every_package_has_its_version_and_a_missing_one_says_so(monkeypatch):
    found = environment()
    assert list(found["packages"]) == list(PACKAGES) and found["packages"]["torch"] == version("torch")
    assert found["python"] == platform.python_version()
    assert found["platform"].endswith(torch.backends.cpu.get_cpu_capability())
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    assert environment()["packages"] == {"no-such-package": "not installed"}


def test_it_comes_back_from_what_a_run_is_labelled_with():
    here = Provenance.here("cpu")
    assert Provenance.of(here.facts, {"device": "cpu"}) == here
    assert f"torch {version('torch')}" in here.packages and all(here.key.values())


@pytest.mark.parametrize("name", ["code", "packages", "processor", "device"])
def test_one_value_that_differs_is_enough_and_what_is_not_known_is_not_compared(name):
    one = Provenance("c", "torch 1", "AVX2", "cpu")
    other = Provenance(**{**one.key, name: "torch 2"})
    assert one.matches(one) and not one.matches(other) and not other.matches(one)
    assert one.matches(Provenance(**{**other.key, name: ""}))
    assert not differences([one, one, Provenance(**{**other.key, name: ""})])
    assert differences([one, other, one]).startswith(f"{name} {one.key[name]} (2), torch 2 (1)")
    assert differences_from(one, [other, one]) == f"{name} torch 2 (1), here {one.key[name]}"


def test_of_the_packages_only_those_are_named_whose_versions_differ():
    one, other = (
        Provenance(packages="python 3.11, torch 1, numpy 2"),
        Provenance(packages="python 3.11, torch 1, numpy 3"),
    )
    assert differences([one, other]) == "packages numpy 2 (1), numpy 3 (1)"
    assert differences_from(one, [other, other]) == "packages numpy 3 (2), here numpy 2"


ROOT = Path(module.__file__).parents[1]


@pytest.mark.parametrize(
    "name",
    [
        *("training/trainer", "training/prediction", "training/fold_data", "training/target_sample", "data/batches"),
        *("models/segmentation", "models/settings", "models/light_fpn", "evaluation/validators", "experiments/run_job"),
    ],
)
def test_an_edit_of_what_a_result_depends_on_is_another_version(name, monkeypatch):
    assert _with_edit(f"{name}.py", monkeypatch) != code_version.__wrapped__()


@pytest.mark.parametrize(
    "name", ["reporting/tables", "cli/app", "tracking/publish", "cli/status", "reporting/collect", "reporting/plots"]
)
def test_an_edit_of_reports_commands_or_tracking_is_not(name, monkeypatch):
    assert (ROOT / f"{name}.py").is_file()
    assert _with_edit(f"{name}.py", monkeypatch) == code_version.__wrapped__()


def _with_edit(name, monkeypatch):
    """The version with another line in one file."""
    read = Path.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path == ROOT / name))
        return code_version.__wrapped__()
