"""The page of losses from elsewhere: its code is run and keeps the contract, and its card has every line."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

from benchmark.conformance import Fixtures, check_method
from benchmark.conformance.fixtures import train
from benchmark.training.trainer import Stepper
from methods.source_only import SourceOnly

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "wrapping.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory):
    return Fixtures(tmp_path_factory.mktemp("worlds"), SourceOnly)


@pytest.fixture(params=["MmsegLoss", "TllibLoss"])
def wrapped(request, tmp_path, monkeypatch):
    """The method of a block of the page, which is a file as a reader would save it."""
    (code,) = [each for each in CODE if f"class {request.param}(" in each]
    name = f"wrapped_{request.param.lower()}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    specification = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, module)
    specification.loader.exec_module(module)
    return getattr(module, request.param)


def test_a_wrapped_loss_is_at_work(wrapped, fixtures):
    """The weights are others than source-only's, and the loss is logged by its name."""
    logged = {}
    stepper = train(
        Stepper(
            fixtures.fabric, wrapped, None, fixtures.data, fixtures.recipe, 0, lambda metrics, _: logged.update(metrics)
        )
    )
    assert len([name for name in logged if name.startswith("train/loss/")]) == 2
    weights, control = (each.method.network.state_dict() for each in (stepper, fixtures.source_only))
    assert any(not torch.equal(weights[name], control[name]) for name in control)


@pytest.mark.slow
def test_a_wrapped_loss_keeps_the_contract(wrapped, fixtures):
    results = check_method(wrapped, None, fixtures)
    assert results and [result for result in results if result.status == "fail"] == []


def test_a_wrapped_method_has_some_ten_lines():
    """Without the module that stands in for the other library's."""
    for code in CODE:
        body = code[re.search(r"^class \w+\(Method\)", code, re.MULTILINE).start() :]
        assert len([line for line in body.splitlines() if line.strip()]) <= 13


def test_the_card_asks_for_the_word_of_the_author():
    (card,) = re.findall(r"```markdown\n(.*?)```", PAGE, re.DOTALL)
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", card, re.MULTILINE))
    assert rows["verified by its author"].startswith("not yet")
    assert {"paper", "official code", "needs", "departures from the paper", "reference values"} <= set(rows)
