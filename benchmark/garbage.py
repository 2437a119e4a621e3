"""Python's search for objects that only hold each other."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Put the search off for the length of a block, or of a function that this decorates.

    Reading a store makes some hundred thousand objects that are all needed, and the search goes through them again and
    again: a third of the time of a report.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
