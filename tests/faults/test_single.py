"""Every single fault, and what measures loops and overheads."""

from itertools import count
from types import SimpleNamespace

import pytest

from tests.faults import single
from tests.faults.endurance import MIB, Look, growth
from tests.faults.ground import Ground
from tests.faults.overheads import Tally


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return Ground.made(tmp_path_factory.mktemp("faults"))


@pytest.mark.slow
@pytest.mark.parametrize("name", single.FAULTS)
def test_nothing_finished_is_lost_and_the_same_command_does_the_rest(name, ground):
    try:
        found = single.FAULTS[name](ground)
    except single.Skipped as reason:
        pytest.skip(str(reason))
    assert not found.wrong and found.told


def test_a_leak_is_seen_in_the_looks_at_a_loop():
    looks = [Look(runs, MIB * (500 + runs // 10), 12 + runs // 50, 0.0) for runs in range(0, 200, 10)]
    memory, files = growth(looks, 100)
    assert memory == pytest.approx(100) and files == 1
    assert growth([Look(runs, 600 * MIB, 12, 0.0) for runs in range(200)], 100) == (0, 0)


def test_a_call_within_another_counts_once(monkeypatch):
    ticks = count()
    monkeypatch.setattr("tests.faults.overheads.time", SimpleNamespace(perf_counter=lambda: next(ticks)))

    class Store:
        def start(self):
            self.flush()

        def flush(self):
            pass

    tally, store = Tally(), Store()
    with tally.of((Store, "start"), (Store, "flush")):
        store.start()
    store.flush()
    assert tally.seconds == 1, "from one tick to the next, with none within, and none after"
