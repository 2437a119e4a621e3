"""Memory management: Python's garbage collection, and the heap of the C library.

Imports make millions of objects that stay. Looking through them every 700 new ones takes a tenth of a short command,
and taking them apart when it ends a sixth. A training may tie tensors into circles, which should not wait.

Each training step allocates memory for its batch. The C library of Linux returns blocks of that size to the system,
which has to clear every page of the next one: kept instead, batches of 10 patches of 5 × 512 × 512 are made 2 to 10
times as fast.
"""

import gc

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BLOCK = 2**30  # bytes; larger blocks are still returned
USUAL = gc.get_threshold()
WHILE_LOADING = 50_000  # new objects


def while_loading() -> None:
    """Look seldom."""
    gc.set_threshold(WHILE_LOADING)


def while_training() -> None:
    """Look as usual, and keep freed blocks for the next batch where the C library can."""
    import ctypes  # slower to import than the help of a command takes

    gc.set_threshold(*USUAL)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def after_training() -> None:
    """Free what a training held.

    A method and its trainer refer to each other, and Python counts objects, not bytes: by itself it would keep the
    networks of dozens of runs.
    """
    gc.collect()
    gc.freeze()  # what is left stays, so that the next call looks only at what came after


def at_the_end() -> None:
    """Leave what there is to the system, which takes it back at once when the process ends."""
    gc.freeze()
