"""Finding methods, and telling versions of their code apart."""

import importlib
import inspect
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import methods
from methods import registry, sources
from methods.base import Method, MethodError
from methods.names import known_names

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


def test_a_module_that_the_file_of_a_method_lacks_is_a_mistake_of_that_file(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MethodError, match=r"No module named 'no_such_module' \(lacking.py:1\)"):
        registry.find("lacking:Idea")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("source-olny", r"did you mean source-only\? There are"),
        ("tent,source-only", "each method has a --method of its own"),
        ("no_such_module:Idea", "there is no module 'no_such_module' in this folder or among the installed"),
        ("json.no_such:Idea", "there is no module 'json.no_such' in this folder"),
        ("json:Idea", "AttributeError: module 'json' has no attribute 'Idea'"),
        ("methods.base:Progress", "not a subclass"),
    ],
)
def test_an_unknown_method_is_named_with_what_there_is(name, message):
    with pytest.raises(MethodError, match=message):
        registry.find(name)


def test_the_digest_follows_the_parts_a_method_imports(monkeypatch):
    method = registry.find("entropy-minimization")
    before, other = sources.code_digest(method), sources.code_digest(registry.find("source-only"))
    assert before != other
    original = sources._source

    def changed(name):
        found = original(name)
        return (found[0] + "# changed", found[1]) if name == "methods.parts.entropy" else found

    monkeypatch.setattr(sources, "_digest_of", sources._digest_of.__wrapped__)
    monkeypatch.setattr(sources, "_source", changed)
    assert sources.code_digest(method) != before
    assert sources.code_digest(registry.find("source-only")) == other


def test_the_digest_of_a_file_is_that_of_its_method_without_an_import():
    found = {name: sources.code_digest(method) for name, method in registry.available().items()}
    assert {name: sources.file_digest(name) for name in found} == found and len(set(found.values())) == len(found)
    assert sources.file_digest("no-such-method") is None and sources.file_digest("their_package.idea:Idea") is None
    code = "import sys; from methods.sources import file_digest as f; print(f('dacs-masked'), 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert answer.stdout == f"{found['dacs-masked']} False\n"


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
    before = sources.code_digest(registry.find("their_package.idea:Idea"))
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]
    (package / "constants.py").write_text("WEIGHT = 20.0\n")
    sources.inspect.linecache.clearcache()
    assert sources.code_digest(registry.find("their_package.idea:Idea")) != before


IDEA = """
from methods.base import Method
{imports}

class Idea(Method):
    def losses(self, source, target, progress):
        return {{"s": WEIGHT * self.segmentation_loss(source)}}
"""


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """Imports anew what lies in a folder of its own, as another process would, and gives a method's digest."""
    monkeypatch.syspath_prepend(tmp_path)

    def digest(address):
        for name in [name for name in sys.modules if name.partition(".")[0] in ("idea_file", "idea_part", "ideas")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        sources.inspect.linecache.clearcache()
        return sources.code_digest(registry.find(address))

    return digest


def test_the_digest_follows_a_module_beside_the_method_but_no_environment_there(tmp_path, digest_of):
    (tmp_path / "idea_file.py").write_text(IDEA.format(imports="import numpy\nfrom idea_part import WEIGHT"))
    (tmp_path / "idea_part.py").write_text("WEIGHT = 1.0\n")
    before = digest_of("idea_file:Idea")
    (tmp_path / "idea_part.py").write_text("WEIGHT = 20.0\n")
    assert digest_of("idea_file:Idea") != before
    environment = Path(sources.importlib.util.find_spec("numpy").origin).parents[1]
    assert not sources._is_part("numpy", environment.parents[3])
    assert sources._is_part("idea_part", tmp_path) and not sources._is_part("benchmark.cli.app", REPOSITORY)


def test_the_digest_follows_relative_imports(tmp_path, digest_of):
    (tmp_path / "ideas").mkdir()
    (tmp_path / "ideas" / "__init__.py").write_text("")
    (tmp_path / "ideas" / "one.py").write_text(IDEA.format(imports="from .part import WEIGHT"))
    (tmp_path / "ideas" / "part.py").write_text("WEIGHT = 1.0\n")
    before = digest_of("ideas.one:Idea")
    (tmp_path / "ideas" / "part.py").write_text("WEIGHT = 20.0\n")
    assert digest_of("ideas.one:Idea") != before


@pytest.fixture
def scanned_anew():
    registry._scan.cache_clear()
    yield
    registry._scan.cache_clear()


def test_a_broken_file_is_told_and_takes_no_other_along(tmp_path, monkeypatch, scanned_anew, capsys):
    (tmp_path / "half_done.py").write_text("import torch\nclass HalfDone(:\n")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert "source-only" in registry.available() and "half-done" not in registry.available()
    assert "SyntaxError" in registry.broken()["half-done"] and "line 2" in registry.broken()["half-done"]
    with pytest.raises(MethodError, match="'half-done' cannot be used: SyntaxError"):
        registry.find("half-done")


class Point:
    """An entry point."""

    dist = None

    def __init__(self, name, loaded):
        self.name, self.value, self._loaded = name, f"their_package:{name}", loaded

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_an_entry_point_replaces_no_method_and_a_broken_one_no_command(monkeypatch, scanned_anew):
    ours = registry.available()["tent"]
    theirs = type("Theirs", (Method,), {})
    points = [Point("tent", theirs), Point("sound", theirs), Point("wrong", ImportError("no such thing"))]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry._scan.cache_clear()
    found = registry.available()
    assert found["tent"] is ours and found["sound"] is theirs and "wrong" not in found
    assert "there is a method of this name already" in registry.broken()["tent of the package their_package:tent"]
    assert "no such thing" in registry.broken()["wrong"]


def test_an_error_is_blamed_on_the_method_s_own_line():
    class Wrong(Method):
        def losses(self, source, target, progress):
            return json.loads("{")

    with pytest.raises(ValueError) as caught:
        Wrong.losses(None, None, None, None)
    line = inspect.getsourcelines(Wrong)[1] + 2
    assert sources.blamed(caught.value, Wrong).endswith(f"(test_registry.py:{line})")
    assert "(decoder.py:" in sources.blamed(caught.value)


def test_the_entry_point_of_a_package_on_the_path_is_found(tmp_path, monkeypatch, scanned_anew):
    (tmp_path / "from_afar.py").write_text("from methods.base import Method\nclass FromAfar(Method): 'Of another.'\n")
    described = tmp_path / "from_afar-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: from-afar\nVersion: 1\n")
    (described / "entry_points.txt").write_text("[landshift.methods]\nfrom-afar = from_afar:FromAfar\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.find("from-afar").__doc__ == "Of another." and "from-afar" in registry.available()
    sys.modules.pop("from_afar")


@pytest.mark.slow
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
        [sys.executable, "-m", "benchmark", "methods", "from-elsewhere"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(home)}, cwd=REPOSITORY, check=True,
    )  # fmt: skip
    assert answer.stdout.startswith("from-elsewhere  (sees source labels)\n    Of another package.")


def test_the_names_that_are_known_without_an_import_are_those_of_the_methods():
    assert set(known_names()) == {*registry.available(), *registry.broken()}
