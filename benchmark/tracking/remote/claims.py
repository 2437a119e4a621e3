"""Who trains a cell: the bakery algorithm (Lamport, CACM 1974) with MLflow's runs as the tickets.

MLflow has no way to write a thing only if it is not there yet, and the clocks of the hosts differ. But what was written
is seen by whoever reads after that, which is all that the algorithm needs. A run without a ticket is one whose process
is choosing. Each takes a number above all that it sees, then waits until nobody chooses any more; the lowest number
stays, of equal ones the lower id, and the others leave instead of waiting for their turn.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from benchmark.errors import AlreadyTaken

TICKET = "landshift.ticket"
CHOOSING = 60.0  # seconds that another one may take; after that it is believed to get the cell
LOOK = 0.5


def settle(
    client: Any,
    mine: str,
    name: str,
    others: Callable[[], Sequence[Any]],
    gone: Callable[[Sequence[Any]], Collection[str]],
    close: Callable[[Any], None],
) -> None:
    """Return if a run that was just made is the one that is to be trained.

    Args:
        client: MLflow's, patient.
        mine: its id.
        name: for the message.
        others: reads all runs of its identity anew, itself among them, in one piece.
        gone: the ids of those of some runs whose process has ended.
        close: a run whose process has ended. It is closed before it is passed over, so that a process which was only
            held up sees that its run is not its own any more.

    Raises:
        AlreadyTaken: it is not; it is deleted.
    """
    client.set_tag(mine, TICKET, str(1 + max(map(ticket, others()), default=0)))
    try:
        _stay(mine, name, others, gone, close)
    except AlreadyTaken:
        client.delete_run(mine)
        raise


def ticket(run: Any) -> int:
    """The number of a run; 0 where it has none yet."""
    text = run.data.tags.get(TICKET, "")
    return int(text) if text.isdigit() else 0


def _stay(
    mine: str,
    name: str,
    others: Callable[[], Sequence[Any]],
    gone: Callable[[Sequence[Any]], Collection[str]],
    close: Callable[[Any], None],
) -> None:
    end = time.monotonic() + CHOOSING
    while True:
        runs = others()
        me = next((run for run in runs if run.info.run_id == mine), None)
        if me is None or me.info.status != "RUNNING":
            raise AlreadyTaken(f"{name}: its run was closed by another process, which took this one for gone")
        if any(run.info.status == "FINISHED" for run in runs):
            raise AlreadyTaken(f"{name} is finished in another process")
        rivals = [run for run in runs if run.info.status == "RUNNING" and run.info.run_id != mine]
        dead = gone(rivals)
        for run in rivals:
            if run.info.run_id in dead:
                close(run)
        rivals = [run for run in rivals if run.info.run_id not in dead]
        if any(ticket(run) and (ticket(run), run.info.run_id) < (ticket(me), mine) for run in rivals):
            raise AlreadyTaken(f"{name} is being run by another process")
        if all(ticket(run) for run in rivals) and not dead:
            return
        if time.monotonic() > end:
            raise AlreadyTaken(f"{name} is being run by another process")
        time.sleep(LOOK if not dead else 0.0)
