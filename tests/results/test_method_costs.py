"""The costs of methods: measured beside source-only, and shown on their pages."""

import importlib.util
import sys
from pathlib import Path

from benchmark.cli.app import main
from benchmark.conformance.costs import read_costs
from benchmark.conformance.fixtures import RECIPE
from methods.registry import available

SCRIPT = Path(__file__).resolve().parents[2] / "results" / "scripts" / "method_costs.py"


def test_what_a_step_costs_is_measured_beside_source_only(tmp_path, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("method_costs", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    chosen = {name: available()[name] for name in ("dacs", "rand-conv", "source-only", "tent")}
    monkeypatch.setattr(script, "available", lambda: chosen)
    monkeypatch.setattr("methods.registry.available", lambda: chosen)
    monkeypatch.setattr(script, "RESNET", RECIPE)
    monkeypatch.setattr(sys, "argv", ["method_costs.py", str(tmp_path / "costs.json")])
    script.main()
    costs = read_costs(tmp_path / "costs.json")
    assert set(costs) == set(chosen) and costs["source-only"].activations == 1
    assert costs["rand-conv"].time > 1.5 and 2.5 < costs["rand-conv"].activations < 4, "three views"
    assert costs["dacs"].activations < 1.3, "two passes, one after the other"
    assert "rand-conv" in capsys.readouterr().out
    main(["methods", "--document", str(tmp_path)])
    time = f"{costs['tent'].time:.1f} times the time"
    assert f"A prediction and an update take {time}" in (tmp_path / "tent.md").read_text(encoding="utf-8")
