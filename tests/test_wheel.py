"""The wheel holds all that landshift needs: it is built, installed outside of the clone, and used there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmark", "methods", "protocols")
SOURCES = (*PACKAGES, "landshift.py", "pyproject.toml", "README.md", "LICENSE")
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources: setuptools leaves a build folder beside them."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    _run(sys.executable, "-c", "from setuptools.build_meta import build_wheel; build_wheel('dist')", cwd=folder)
    (built,) = (folder / "dist").glob("landshift-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of commands of an environment that has the wheel, and all other packages from the current one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    # A line of a .pth file adds a folder, and not what .pth files in that folder add: no editable landshift.
    (packages,) = folder.glob("lib/python*/site-packages")
    others = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (packages / "others.pth").write_text("\n".join(others) + "\n", encoding="utf-8")
    return python.parent


def _run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    files = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*") if path.is_file()]
    names = {path.relative_to(REPOSITORY).as_posix() for path in files if "__pycache__" not in path.parts}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {*names, "landshift.py"}


def test_the_installed_command_trains_and_python_reads_the_results(installed, tmp_path):
    landshift = installed / "landshift"
    assert _run(landshift, "--version", cwd=tmp_path).split() == ["landshift", VERSION]
    listed = _run(landshift, "methods", cwd=tmp_path)
    assert "dann" in listed and "source-only" in listed
    methods = ["--method", "source-only", "--method", "batch-norm-adaptation"]
    training = ["--fold", "2021", "--steps", "8", "--workers", "2"]
    _run(landshift, "run", "world-leave-times-out", *methods, *training, cwd=tmp_path)
    assert (tmp_path / "results" / "world-leave-times-out-v2" / "comparison.html").is_file()
    program = "import landshift; print(landshift.__file__, *landshift.load_results().summary().index)"
    where, *rows = _run(installed / "python", "-c", program, cwd=tmp_path).split()
    assert Path(where).is_relative_to(installed.parent) and sorted(rows) == ["batch-norm-adaptation", "source-only"]
