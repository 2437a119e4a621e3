"""What the documentation draws and lists is what the code has."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import landshift

DOCS = Path(__file__).resolve().parents[1] / "docs"


def _load(name: str) -> ModuleType:
    """Import a script of docs/, which is no package."""
    specification = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_figure_of_the_packages_is_that_of_the_code():
    script = _load("draw_packages")
    edges = script.read_edges()
    assert {"training", "tracking", "protocols"} <= edges["experiments"] and not edges["methods"]
    made = script.draw(script.reduce_edges(edges))
    assert made == script.FIGURE.read_text(encoding="utf-8"), "make docs draws it again"
    assert f"]({script.FIGURE.name})" in (DOCS / "design.md").read_text(encoding="utf-8")


def test_an_arrow_that_follows_from_others_is_not_drawn():
    edges = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert _load("draw_packages").reduce_edges(edges) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}


def test_the_page_about_python_lists_every_public_name():
    cells = re.findall(r"^\| (`.*?) \|", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(landshift.__all__)


def test_modules_and_files_that_pages_name_exist():
    root, missing = DOCS.parent, []
    packages = {path.name for path in (root / "benchmark").iterdir() if path.is_dir()}
    for page in [*DOCS.glob("*.md"), *root.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        modules = [name for name in re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", text) if name.split(".")[0] in packages]
        files = [root / "benchmark" / f"{name.replace('.', '/')}.py" for name in modules]
        files += [root / name for name in re.findall(r"`((?:tests|methods|protocols)/[\w./]+)`", text)]
        missing += [f"{page.name}: {file}" for file in files if not (file.exists() or file.with_suffix("").is_dir())]
    assert missing == []


@pytest.mark.parametrize(
    ("page", "link", "mended"),
    [
        ("index.md", "[own](docs/data.md#a)", "[own](data.md#a)"),
        ("methods/dann.md", "[home](../../README.md)", "[home](../index.md)"),
        ("methods/dann.md", "[data](../data.md)", "[data](../data.md)"),
        ("methods/dann.md", "[test](../../tests/conftest.py)", "test (`tests/conftest.py`)"),
        ("design.md", "[conftest.py](../tests/conftest.py)", "`tests/conftest.py`"),
        ("results/README.md", "[data](../docs/data.md)", "[data](../data.md)"),
        ("examples/README.md", "[page](compare.ipynb)", "[page](compare.md)"),
        ("examples/compare.md", "[notebook](./compare.ipynb)", "[notebook](compare.ipynb)"),
        ("design.md", "[gone](gone.md) [web](https://a.b/c)", "[gone](gone.md) [web](https://a.b/c)"),
    ],
)
def test_a_link_of_the_site_leads_to_its_page_and_a_source_file_is_named_by_its_path(page, link, mended):
    pages = {"index.md", "data.md", "examples/compare.md", "examples/compare.ipynb"}
    assert _load("site_hooks").mend_links(link, page, pages) == mended


def test_the_site_builds_and_documents_every_public_name(tmp_path):
    # not --quiet: with it --strict does not see the warnings
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=DOCS.parent, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    missing = [name for name in landshift.__all__ if f'id="landshift.{name}"' not in page]
    assert missing == ["IGNORE"]  # a number has no docstring
    home = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="methods/dann/"' in home
    addresses = re.findall(r'(?:src|href)="(https?://[^"]*)', home)
    assert addresses == ["https://squidfunk.github.io/mkdocs-material/"], "the site loads nothing from elsewhere"
