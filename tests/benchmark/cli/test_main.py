"""``landshift`` as a process of its own."""

import subprocess
import sys

PROBE = """
import gc
from unittest.mock import patch
from benchmark import __main__
from benchmark.common.garbage import USUAL, while_training
seen = []
with patch("benchmark.cli.app.main", lambda: seen.append(gc.get_threshold()[0]) or 7):
    status = __main__.program()
while_training()
print(status, seen[0] > 10 * USUAL[0], gc.get_freeze_count() > 1000, gc.get_threshold() == USUAL)
"""


def test_garbage_is_looked_for_seldom_until_something_is_trained_and_not_at_the_end():
    # In a process of its own, because it changes Python's settings.
    said = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["7", "True", "True", "True"]
