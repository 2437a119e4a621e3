"""The script that measures the engine against bare PyTorch, and the store against files."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "results" / "scripts" / "engine_speed.py"


@pytest.mark.slow
def test_every_ratio_is_measured():
    spec = importlib.util.spec_from_file_location("engine_speed", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = [line.split(" | ") for line in script.measure(0.1).splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 2 + len(script.COMPRESSIONS) and all(float(row[1]) > 0 for row in rows)
