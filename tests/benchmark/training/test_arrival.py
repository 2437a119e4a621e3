"""Orders of the test stream: each is a permutation of the part, and what it says it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.training.arrival import ORDERS, ROUNDS, arrival
from benchmark.training.fold_data import Part
from methods.parts.metadata import Metadata


def test_a_day_comes_after_all_earlier_days_whatever_its_number_in_its_month():
    """By day before month, 1 March would come before 2 January; by month before year, 1 January before 31 December."""
    dates = ["2020-02-29", "2020-01-02", "", "2019-12-31", "2020-03-01", "2020-01-31", "2021-01-01", "2020-01-02"]
    zones = ["b", "b", "b", "z", "a", "b", "a", "a"]
    parts = np.array([date.split("-") if date else [np.nan] * 3 for date in dates], dtype=np.float32)
    day = {name: torch.from_numpy(parts[:, column]) for column, name in enumerate(("year", "month", "day"))}
    part = Part(np.arange(8), np.array(["a"] * 8), np.array(zones), replace(Metadata.unknown(8), **day))
    (order,) = arrival(part)
    assert [(dates[place], zones[place]) for place in order] == sorted(zip(dates, zones, strict=True))
    backwards = part.take(np.arange(8)[::-1].copy())
    assert backwards.rows[arrival(backwards)[0]].tolist() == order.tolist(), "whatever the order of the part"


def test_patches_of_one_day_and_zone_come_in_the_order_of_the_store():
    rows = np.array([5, 1, 3])
    (order,) = arrival(Part(rows, np.full(3, "a"), np.full(3, "z"), Metadata.unknown(3)))
    assert order.tolist() == [1, 2, 0]


@pytest.fixture
def part():
    """Sixty patches of two domains with two zones each, at five dates, in any order."""
    noise = np.random.default_rng(0)
    domains = noise.permutation(np.repeat(["A@2020", "B@2020"], 30))
    zones = np.char.add(np.char.add(domains, "|"), noise.choice(["n", "s"], 60))
    day = {"year": torch.full((60,), 2020.0), "month": torch.full((60,), 5.0)}
    metadata = replace(Metadata.unknown(60), **day, day=torch.from_numpy(noise.integers(1, 6, 60)).float())
    return Part(noise.permutation(60), domains, zones, metadata)


@pytest.mark.parametrize("order", ORDERS)
def test_every_patch_comes_once_whatever_the_order_of_the_part(part, order):
    rounds = arrival(part, order, seed=3)
    assert sorted(np.concatenate(rounds)) == list(range(60)) and len(rounds) == (ROUNDS if order == "recurring" else 1)
    backwards = part.take(np.arange(60)[::-1].copy())
    again = arrival(backwards, order, seed=3)
    assert [backwards.rows[one].tolist() for one in again] == [part.rows[one].tolist() for one in rounds]


def test_by_place_a_zone_is_left_once_all_its_dates_are_over(part):
    (order,) = arrival(part, "place")
    arrived = [(part.zones[place], part.metadata.day[place].item(), part.rows[place]) for place in order]
    assert arrived == sorted(arrived)


def test_a_shuffled_stream_is_another_one_with_another_seed(part):
    orders = [arrival(part, "shuffled", seed)[0].tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2] and orders[0] != arrival(part)[0].tolist()


def test_dates_and_domains_come_back_in_every_round(part):
    days = part.metadata.day.numpy()
    for order in (rounds := arrival(part, "recurring")):
        assert days[order].tolist() == sorted(days[order]) and set(days[order]) == set(days)
    for domain in set(part.domains):
        counts = [(part.domains[order] == domain).sum() for order in rounds]
        assert max(counts) - min(counts) <= 1


def test_fewer_patches_than_rounds_make_fewer_rounds(part):
    assert [len(order) for order in arrival(part.take(np.arange(1)), "recurring")] == [1]
