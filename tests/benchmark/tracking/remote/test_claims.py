"""One of several that ask for a cell gets it, in whatever order their steps fall."""

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.errors import AlreadyTaken
from benchmark.tracking.remote import claims
from benchmark.tracking.remote.claims import TICKET, settle, ticket


@dataclass
class Shared:
    """Runs of one identity, and whose turn it is: a step is one call of the server."""

    runs: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    closed: list[str] = field(default_factory=list)
    step: Callable[[], None] = lambda: None

    def create(self, id: str, status: str = "RUNNING", **tags: str) -> None:
        self.runs[id] = status, {key.replace("_", "."): value for key, value in tags.items()}

    def set_tag(self, id: str, key: str, value: str) -> None:
        self.step()
        self.runs[id][1][key] = value

    def delete_run(self, id: str) -> None:
        self.step()
        del self.runs[id]

    def read(self) -> list[Any]:
        self.step()
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=id, status=status), data=SimpleNamespace(tags=dict(tags)))
            for id, (status, tags) in self.runs.items()
        ]

    def dead(self, runs: Sequence[Any]) -> Collection[str]:
        return {run.info.run_id for run in runs} & self.gone

    def close(self, run: Any) -> None:
        self.closed.append(run.info.run_id)
        self.runs[run.info.run_id] = "KILLED", self.runs[run.info.run_id][1]

    def ask(self, id: str) -> bool:
        try:
            settle(self, id, "the cell", self.read, self.dead, self.close)
        except AlreadyTaken:
            return False
        return True


class Turns:
    """Threads that go on one step at a time, in a given order: nobody moves before the one before has come to its next
    step."""

    def __init__(self, order: Iterator[int], count: int) -> None:
        self._order, self._live, self._waiting = order, set(range(count)), set[int]()
        self._here, self._turn, self._changed = threading.local(), -1, threading.Condition()

    def begin(self, number: int) -> None:
        self._here.number = number

    def step(self) -> None:
        number = self._here.number
        with self._changed:
            self._waiting.add(number)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._turn == number, 20)
            self._turn = -1
            self._waiting.discard(number)

    def end(self) -> None:
        with self._changed:
            self._live.discard(self._here.number)
            self._changed.notify_all()

    def lead(self) -> None:
        """Give turns until all have ended."""
        with self._changed:
            while self._live:
                wanted = next(self._order)
                if wanted in self._live:
                    self._settle(wanted)
                if wanted in self._live:
                    self._turn = wanted
                    self._changed.notify_all()
                    self._settle(wanted)

    def _settle(self, number: int) -> None:
        """Wait until a thread waits for its turn, or has ended."""
        assert self._changed.wait_for(
            lambda: number not in self._live or (self._turn == -1 and number in self._waiting), 20
        )


def _race(order: Sequence[int], count: int) -> list[bool]:
    turns = Turns(itertools.chain(order, itertools.cycle(range(count))), count)
    shared, won = Shared(step=turns.step), [False] * count

    def compete(number: int) -> None:
        turns.begin(number)
        turns.step()
        shared.create(f"{9 - number}")  # the later ones have the lower ids
        won[number] = shared.ask(f"{9 - number}")
        turns.end()

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    turns.lead()
    for thread in threads:
        thread.join(20)
    assert list(shared.runs) == [f"{9 - number}" for number in range(count) if won[number]]
    return won


def test_two_in_every_order_of_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Creating, reading, taking a ticket and reading again are four steps of each."""
    monkeypatch.setattr(claims, "LOOK", 0.0)
    for first in itertools.combinations(range(8), 4):
        order = [int(step not in first) for step in range(8)]
        assert sum(_race(order, 2)) == 1, order


def test_three_in_many_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOOK", 0.0)
    for order in itertools.islice(itertools.product(range(3), repeat=7), 0, None, 17):
        assert sum(_race(order, 3)) == 1, order


def test_an_unread_ticket_is_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOOK", 0.0)
    monkeypatch.setattr(claims, "CHOOSING", 0.05)
    shared = Shared()
    shared.create("slow")
    shared.create("mine")
    assert not shared.ask("mine") and list(shared.runs) == ["slow"]


def test_the_dead_are_closed_and_passed_over() -> None:
    shared = Shared(gone={"dead"})
    shared.create("dead", landshift_ticket="4")
    shared.create("mine")
    assert shared.ask("mine") and shared.closed == ["dead"] and shared.runs["mine"][1][TICKET] == "5"


def test_who_was_taken_for_gone_gives_up() -> None:
    shared = Shared()
    shared.create("mine", "KILLED")
    assert not shared.ask("mine")


def test_a_finished_run_is_not_run_again() -> None:
    shared = Shared()
    shared.create("other", "FINISHED", landshift_ticket="1")
    shared.create("mine")
    assert not shared.ask("mine") and list(shared.runs) == ["other"]


def test_a_ticket_that_is_no_number_is_none() -> None:
    shared = Shared()
    shared.create("odd", landshift_ticket="-1e9")
    assert [ticket(run) for run in shared.read()] == [0]
