"""Hostile files give one clear error or are harmless: no traceback, no code, nothing outside of their folder."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults import inputs
from tests.faults.hostile import BAD, as_markdown, run
from tests.faults.inputs import KINDS, Place
from tests.faults.readers import READERS, outcome_of

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def _bad(inputs: int, seed: int, **how: Any) -> list[str]:
    table, bad = run(inputs, seed, **how)
    assert sum(sum(found.values()) for found in table.values()) == inputs, as_markdown(table)
    assert bool(bad) == any(found[name] for found in table.values() for name in BAD)
    return bad


@pytest.mark.slow
def test_1000_hostile_inputs():
    assert _bad(1000, 0) == []


def test_some_hostile_inputs():
    assert _bad(60, 1, ask=outcome_of) == []  # in this process: a worker takes seconds to start


def test_the_same_files_are_read_where_nothing_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Or all could be refused for another reason than what is wrong with them."""
    monkeypatch.setattr(inputs, "changed", lambda content, rng, words=(): content)
    place = Place(tmp_path)
    for kind in KINDS:
        told = []
        for number in range(40):
            folder = place.fresh(number)
            KINDS[kind](place, folder, random.Random(number))
            outcome, text = outcome_of(kind, folder)
            place.remove(folder)
            told.append(text)
            if outcome == "accepted":
                break
        assert outcome == "accepted", (kind, told)


@pytest.mark.parametrize("kind", ["weights", "files of runs and tables"])
def test_a_reader_that_unpickles_is_found_out(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import pickle

    place = Place(tmp_path)
    path = tmp_path / "inputs" / "x.pth"
    path.write_bytes(pickle.dumps(inputs.Payload(place.sentinel)))
    monkeypatch.setitem(READERS, kind, lambda folder: str(pickle.loads(folder.read_bytes())))
    outcome_of(kind, path)
    assert place.sentinel.exists()


def test_a_secret_that_was_read_is_found_out(tmp_path: Path):
    place = Place(tmp_path)
    (tmp_path / "copy.tif").write_bytes((place.canary / "secret.tif").read_bytes())
    folder = place.fresh(0)
    (folder / "path.txt").write_text(str(tmp_path / "copy.tif"))
    outcome, told = outcome_of("image", folder)
    assert outcome == "accepted" and place.secret_in(told)
