"""Disturb a small grid in every way there is: ``python -m tests.faults [--kills 50]``."""

import argparse
import tempfile
from pathlib import Path

from tests.faults import kills
from tests.faults.ground import Ground

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--kills", type=int, default=50)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--folder", type=Path, help="kept for a look; default: a temporary one")
options = parser.parse_args()
with tempfile.TemporaryDirectory(prefix="landshift-faults-") as temporary:
    ground = Ground.made(options.folder or Path(temporary))
    found = kills.run(ground, options.kills, options.seed)
print(found)
