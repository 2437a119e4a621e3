"""The record of what the methods are held against: complete, and compared with what the tests find."""

import json
from pathlib import Path

import pytest

from methods import registry

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = {
    "methods": ["tent"],
    "quantity": "loss",
    "values": 1,
    "reference": "2",
    "ours": "2",
    "within": "0.001 relative",
    "source": "worked out in the test",
    "test": "tests/methods/test_references.py",
}


@pytest.fixture
def references():
    """The record as it would be if this file compared something."""
    return {(("tent",), "loss", ENTRY["test"]): ENTRY}


def test_every_method_is_held_against_something(pytestconfig):
    if pytestconfig.getoption("references", None):
        pytest.skip("it is being recorded")
    entries = json.loads((REPOSITORY / "docs/methods/references.json").read_text())
    here = {name for name, method in registry.available().items() if method.__module__.startswith("methods.")}
    told = {name for entry in entries for name in entry["methods"]}
    assert told == here, "compare it in its test by `agrees`, then run: make docs"
    assert all((REPOSITORY / entry["test"]).is_file() for entry in entries)


def test_what_deviates_from_its_reference_fails(agrees):
    agrees("tent", "loss", 2.001, 2.0, rtol=1e-3)
    with pytest.raises(AssertionError, match="not close"):
        agrees("tent", "loss", 2.01, 2.0, rtol=1e-3)


@pytest.mark.parametrize(
    ("quantity", "value", "rtol", "source"),
    [
        ("gradient", 2.0, 1e-3, ENTRY["source"]),
        ("loss", 3.0, 1e-3, ENTRY["source"]),
        ("loss", [2.0, 2.0], 1e-3, ENTRY["source"]),
        ("loss", 2.0, 1e-2, ENTRY["source"]),
        ("loss", 2.0, 1e-3, "somebody/else@0123456"),
    ],
)
def test_what_is_not_recorded_so_fails(agrees, quantity, value, rtol, source):
    with pytest.raises(pytest.fail.Exception, match="make docs"):
        agrees("tent", quantity, value, value, source, rtol=rtol)
