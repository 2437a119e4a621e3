"""Orders in which the patches of the test stream arrive."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from methods.parts.randomness import numpy_generator

if TYPE_CHECKING:
    from benchmark.training.fold_data import Part

DATE, PLACE, SHUFFLED, RECURRING = "date", "place", "shuffled", "recurring"
ORDERS = (DATE, PLACE, SHUFFLED, RECURRING)
"""By date, then zone; by domain and zone, then date; at random; or by date several times, each time other patches."""

ROUNDS = 3  # how often the dates come in the recurring order


def arrival(part: "Part", order: str = DATE, seed: int = 0) -> list[NDArray[np.int64]]:
    """Return the positions in a part in the order of arrival, in rounds; all orders but one have a single round.

    Patches of one date and zone come in the order of the store, and patches without a date first. In the recurring
    order, the patches of each domain, by date and zone, are dealt in turn to the rounds. So each round passes through
    all dates, and what it holds of a domain is like what the other rounds hold of it.

    Args:
        order: one of `ORDERS`.
        seed: address of the random order.
    """
    year, month, day = (getattr(part.metadata, name).nan_to_num(-1).numpy() for name in ("year", "month", "day"))
    _, zones = np.unique(part.zones, return_inverse=True)  # the name of a zone begins with its domain's
    date = (day, month, year)
    by_date = np.lexsort((part.rows, zones, *date))
    if order == PLACE:
        return [np.lexsort((part.rows, *date, zones))]
    if order == SHUFFLED:
        by_row = np.argsort(part.rows)
        return [by_row[numpy_generator(seed, "stream order").permutation(len(by_row))]]
    if order == RECURRING:
        turn = np.zeros(len(by_date), dtype=np.int64)  # of the patch that arrives there by date
        for domain in np.unique(part.domains):
            members = part.domains[by_date] == domain
            turn[members] = np.arange(members.sum()) % ROUNDS
        return [round_ for number in range(ROUNDS) if len(round_ := by_date[turn == number])]
    return [by_date]
