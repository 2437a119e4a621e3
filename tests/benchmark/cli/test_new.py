"""What ``landshift new`` writes runs, passes its own test, and keeps the contract; from a checkout and elsewhere."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli.app import main
from benchmark.conformance import CHECKS

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("networks_once")
def test_a_new_method_passes_its_test_and_keeps_the_contract(elsewhere, capsys, monkeypatch):
    monkeypatch.syspath_prepend(elsewhere)
    assert main(["new", "own-idea"]) == 0
    assert "landshift check own_idea:OwnIdea" in capsys.readouterr().out
    written = vars(importlib.import_module("test_own_idea"))
    tests = [test for name, test in written.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()
    monkeypatch.setattr("benchmark.conformance.CHECKS", {name: CHECKS[name] for name in list(CHECKS)[:-1]})
    assert main(["check", "own_idea:OwnIdea"]) == 0
    assert "with its weight at zero it is source-only  │ pass" in capsys.readouterr().out


@pytest.mark.slow
def test_in_processes_of_their_own_too(elsewhere, capsys):
    assert main(["new", "mirror-image"]) == 0
    assert "landshift check mirror_image:MirrorImage" in capsys.readouterr().out
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mirror_image.py"]
    tested = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert "2 passed" in tested.stdout, tested.stdout
    command = [str(Path(sys.executable).parent / "landshift"), "check", "mirror_image:MirrorImage"]
    checked = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "with its weight at zero it is source-only  │ pass" in checked.stdout


@pytest.fixture
def checkout(elsewhere):
    for folder in ("methods/parts", "tests/methods"):
        (elsewhere / folder).mkdir(parents=True)
    for module in ("methods/base.py", "methods/parts/metadata.py"):
        (elsewhere / module).write_text('"""Of the project."""\n')
    return elsewhere


def test_in_a_checkout_it_lies_with_the_others(checkout, capsys):
    assert main(["new", "my-idea"]) == 0
    assert "from methods.my_idea import MyIdea, disagreement" in Path("tests/methods/test_my_idea.py").read_text()
    assert "landshift check my-idea\n" in capsys.readouterr().out


def test_what_is_there_is_not_written_over(elsewhere, capsys):
    Path("my_idea.py").write_text("mine")
    assert main(["new", "my-idea"]) == 1
    assert "my_idea.py is there already" in capsys.readouterr().err and Path("my_idea.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["parts", "base", "registry"])
def test_a_name_of_a_part_of_landshift_is_refused(name, checkout, capsys):
    assert main(["new", name]) == 1
    assert "take another" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["My-Idea", "1st", "../up", "class", "new-", "a--b"])
def test_a_name_that_python_cannot_import_is_refused(name, elsewhere, capsys):
    assert main(["new", name]) == 1
    assert "in small letters" in capsys.readouterr().err and not list(elsewhere.iterdir())


def test_the_written_files_look_like_the_project_s_own(checkout):
    assert main(["new", "my-idea"]) == 0
    settings = ["--config", str(REPOSITORY / "pyproject.toml")]
    for command in (["check"], ["format", "--check"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *settings, "."], cwd=checkout, check=True)
