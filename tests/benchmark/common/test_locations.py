"""The three packages are found where landshift is installed, whatever folders of these names a user has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
# As an editable installation finds packages: after all folders of sys.path, and in every process.
EDITABLE = f"""
import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("benchmark", "methods", "protocols"):
            return spec_from_file_location(name, f"{REPOSITORY}/{{name}}/__init__.py")


sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Finder)
"""
SCRIPT = "import sys\nfrom benchmark.__main__ import program\nif __name__ == '__main__':\n    sys.exit(program())\n"
METHOD = "from methods.source_only import SourceOnly\n\n\nclass Mine(SourceOnly):\n    '''As it is.'''\n"


@pytest.fixture
def place(tmp_path):
    """A folder with a method of the user's own and folders that are called like landshift's packages."""
    for name in ("site", "bin", "place/methods", "place/protocols"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "site/sitecustomize.py").write_text(EDITABLE)
    (tmp_path / "bin/landshift").write_text(SCRIPT)
    (tmp_path / "place/my_idea.py").write_text(METHOD)
    return tmp_path / "place"


def _run(place, *command):
    environment = {**os.environ, "PYTHONPATH": str(place.parent / "site")}
    return subprocess.run(
        [sys.executable, *command], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("command", "regular"),
    [
        (["../bin/landshift"], False),
        (["-m", "benchmark"], True),
        pytest.param(["../bin/landshift"], True, marks=pytest.mark.slow),
        pytest.param(["-m", "benchmark"], False, marks=pytest.mark.slow),
    ],
)
def test_a_folder_called_methods_hides_no_method(place, command, regular):
    if regular:
        (place / "methods/__init__.py").touch()
        (place / "protocols/__init__.py").touch()
    for name in ("source-only", "my_idea:Mine"):
        shown = _run(place, *command, "methods", name)
        assert (shown.returncode, shown.stderr) == (0, ""), shown.stderr
        assert name in shown.stdout
    assert "world-leave-places-out" in _run(place, *command, "protocols", "list").stdout


@pytest.mark.parametrize("regular", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_folder_called_benchmark_does_not_hide_the_command(place, regular):
    (place / "benchmark").mkdir()
    if regular:
        (place / "benchmark/__init__.py").touch()
    shown = _run(place, "../bin/landshift", "methods", "my_idea:Mine")
    assert (shown.returncode, shown.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("regular", [True, False])
def test_worker_processes_find_them_too(place, plan, regular):
    for name in ("benchmark", "methods", "protocols"):
        (place / name).mkdir(exist_ok=True)
        if regular:
            (place / name / "__init__.py").touch()
    done = _run(
        *(place, "../bin/landshift", "run", plan.protocol, "--data", str(plan.data), "--stores", str(plan.stores)),
        *("--method", "source-only", "--method", "my_idea:Mine", "--folds", "2020", "--workers", "2", "--steps", "2"),
        *("--accelerator", "cpu", "--checkpoints", "1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
