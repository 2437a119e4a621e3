"""Finding methods, and telling versions of their code apart."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from methods import registry
from methods.base import Method, MethodError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_file_with_a_method_is_found():
    found = registry.available()
    assert {"source-only", "entropy-minimization", "adversarial-alignment", "style-randomization", "oracle"} <= set(
        found
    )
    assert all(issubclass(method, Method) for method in found.values())


def test_a_class_elsewhere_is_found_by_its_address(tmp_path, monkeypatch):
    (tmp_path / "my_idea.py").write_text(
        textwrap.dedent("""
        from methods.base import Method
        class MyIdea(Method):
            def losses(self, source, target, progress):
                return {"segmentation": self.segmentation_loss(source)}
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.find("my_idea:MyIdea").__name__ == "MyIdea"
    sys.modules.pop("my_idea")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("source-olny", "source-only"),
        ("no_such_module:Idea", "cannot import"),
        ("methods.base:Progress", "not a subclass"),
    ],
)
def test_an_unknown_method_is_named_with_what_there_is(name, message):
    with pytest.raises(MethodError, match=message):
        registry.find(name)


def test_the_digest_follows_the_parts_a_method_imports(monkeypatch):
    method = registry.find("entropy-minimization")
    before, other = registry.code_digest(method), registry.code_digest(registry.find("source-only"))
    assert before != other
    original = registry.inspect.getsource

    def changed(thing):
        return original(thing) + ("# changed" if thing.__name__ == "methods.parts.entropy" else "")

    monkeypatch.setattr(registry.inspect, "getsource", changed)
    assert registry.code_digest(method) != before
    assert registry.code_digest(registry.find("source-only")) == other


def test_the_digest_follows_the_modules_of_another_package(tmp_path, monkeypatch):
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("WEIGHT = 1.0\n")
    (package / "idea.py").write_text(
        "from methods.base import Method\nfrom their_package.constants import WEIGHT\n"
        "class Idea(Method):\n    def losses(self, source, target, progress):\n"
        "        return {'s': WEIGHT * self.segmentation_loss(source)}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = registry.code_digest(registry.find("their_package.idea:Idea"))
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]
    (package / "constants.py").write_text("WEIGHT = 20.0\n")
    registry.inspect.linecache.clearcache()
    assert registry.code_digest(registry.find("their_package.idea:Idea")) != before


def test_a_method_of_an_installed_package_is_found_by_its_entry_point(tmp_path):
    """Built and installed for real, into a folder of its own."""
    package, home = tmp_path / "package", tmp_path / "home"
    package.mkdir()
    (package / "elsewhere.py").write_text(
        "from methods.source_only import SourceOnly\n\n\nclass Elsewhere(SourceOnly):\n    'Of another package.'\n"
    )
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "elsewhere"\nversion = "1"\n'
        '[project.entry-points."landshift.methods"]\nfrom-elsewhere = "elsewhere:Elsewhere"\n'
        '[tool.setuptools]\npy-modules = ["elsewhere"]\n'
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(home), str(package)], check=True)
    answer = subprocess.run(
        [sys.executable, "-m", "benchmark.cli", "methods", "from-elsewhere"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(home)}, cwd=REPOSITORY, check=True,
    )  # fmt: skip
    assert answer.stdout.startswith("from-elsewhere  (sees source labels)\n    Of another package.")
