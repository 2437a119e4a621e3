"""The notebooks run from the first cell to the last, one after the other, as a reader would run them."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import landshift

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "docs" / "examples"
NAMES = ["compare", "method", "results"]  # in the order in which a reader runs them


def _code(name):
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "outputs are left out, so that no diff shows them"
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_notebooks_are_listed_and_use_what_landshift_has():
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"({name}.ipynb)" in page
        nodes = [node for node in ast.walk(ast.parse(_code(name))) if isinstance(node, ast.Attribute)]
        used = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "landshift"}
        assert used and used <= {*landshift.__all__}, name


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_notebooks_run(tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(_code(name), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "agg"}
        done = subprocess.run(
            [sys.executable, f"{name}.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
