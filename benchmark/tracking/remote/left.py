"""What processes that are gone have left undelivered in a results folder."""

import logging
import time
from pathlib import Path
from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.remote.delivery import Away, Delivery
from benchmark.tracking.remote.journal import FILE, Journal
from benchmark.tracking.remote.outbox import FILES, FOLDER, PAUSE, SAY_EVERY, settle

REFUSED = "refused"  # before the name of an outbox that nobody will deliver
logger = logging.getLogger(__name__)


def waiting(results: Path) -> list[Path]:
    """The outboxes of a results folder, of processes at work and of those that are gone."""
    return sorted(
        path.parent for path in (results / FOLDER).glob(f"*/{FILE}") if not path.parent.name.startswith(REFUSED)
    )


def deliver_left(client: Any, address: str, results: Path) -> int:
    """Deliver the outboxes that no process holds; returns how many.

    A run without an end stays as it is: whoever closes the runs of killed processes does the rest.

    Args:
        client: MLflow's, not patient.
    """
    count = 0
    for folder in waiting(results):
        try:
            journal = Journal(folder)
        except OSError:  # its process is at work, or another one delivers it
            continue
        _deliver(client, address, journal, results, folder)
        count += 1
    return count


def _deliver(client: Any, address: str, journal: Journal, results: Path, folder: Path) -> None:
    run = folder.name
    delivery = Delivery(client, run, journal, folder / FILES)
    said = float("-inf")
    while True:
        try:
            delivery.go_on()
            if delivery.refused and not delivery.ended:
                delivery.give_up()
            break
        except Away as why:
            if time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                logger.warning(f"the tracking server {address} is away ({why}); what lies in {folder} waits for it")
            time.sleep(PAUSE)
        except TrackingError as error:
            delivery.refused.append(str(error))
            break
    if delivery.refused:
        aside = folder.with_name(f"{REFUSED}-{run}")
        folder.rename(aside)
        journal.close()
        logger.warning(f"of run {run} something was refused, and is kept in {aside}: {delivery.refused[0]}")
    else:
        settle(journal, results, run)
