"""When Python looks for garbage: seldom while libraries are imported, as usual while something is trained.

Imports make millions of objects that stay. Looking through them every 700 new ones takes a tenth of a short command,
and taking them apart when it ends a sixth. A training may tie tensors into circles, which should not wait.
"""

import gc

USUAL = gc.get_threshold()
WHILE_LOADING = 50_000  # new objects


def while_loading() -> None:
    """Look seldom."""
    gc.set_threshold(WHILE_LOADING)


def while_training() -> None:
    """Look as usual."""
    gc.set_threshold(*USUAL)


def at_the_end() -> None:
    """Leave what there is to the system, which takes it back at once when the process ends."""
    gc.freeze()
