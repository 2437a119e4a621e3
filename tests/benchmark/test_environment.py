"""What a run was computed with."""

import platform
from importlib.metadata import version

import torch

from benchmark import environment as module
from benchmark.environment import PACKAGES, environment


def test_every_package_has_its_version_and_a_missing_one_says_so(monkeypatch):
    found = environment()
    assert list(found["packages"]) == list(PACKAGES) and found["packages"]["torch"] == version("torch")
    assert found["python"] == platform.python_version()
    assert found["platform"].endswith(torch.backends.cpu.get_cpu_capability())
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    assert environment()["packages"] == {"no-such-package": "not installed"}
