"""Disturb a small grid in every way there is, and tell what the user saw and what was lost.

python -m tests.faults                            every single fault, about half an hour on two cores
python -m tests.faults locked full                some of them
python -m tests.faults --kills 50                 SIGKILL at 50 random moments, about a quarter of an hour
python -m tests.faults --kills 50 --postgres      the same with the queue in PostgreSQL
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.faults import kills, single
from tests.faults.ground import Ground
from tests.server.ground import serving


def main() -> int:
    """Return 1 where something is wrong, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(single.FAULTS))
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="instead, SIGKILL at N random moments")
    parser.add_argument("--postgres", action="store_true", help="of --kills: the queue is in PostgreSQL")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="an empty one, kept for a look (default: a temporary one)")
    options = parser.parse_args()
    if unknown := set(options.faults) - set(single.FAULTS):
        parser.error(f"there is no fault {sorted(unknown)[0]}; there are {', '.join(single.FAULTS)}")
    with tempfile.TemporaryDirectory(prefix="landshift-faults-") as temporary:
        ground = Ground.made(options.folder or Path(temporary))
        return _kills(ground, options) if options.kills else _faults(ground, options.faults or list(single.FAULTS))


def _kills(ground: Ground, options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(serving())[0] if options.postgres else None

        def make_results(name: str) -> Path:
            return ground.results(name, f'database = "{postgres.database(name)}"' if postgres else "")

        found = kills.run(ground, options.kills, options.seed, make_results)
    victims = ", ".join(f"{count} {victim}" for victim, count in sorted(found.victims.items()))
    print(f"{found.victims.total()} kills ({victims}) in {found.rounds} grids, {found.seconds:.0f} s")
    print(f"jobs begun again {found.again} times")
    print("; ".join(found.wrong) or "every table is that of the undisturbed grid, to the bit")
    return 1 if found.wrong else 0


def _faults(ground: Ground, names: list[str]) -> int:
    print("| what is done | what the user is told | wrong |\n|---|---|---|", flush=True)
    wrong = 0
    for name in names:
        try:
            found = single.FAULTS[name](ground)
        except single.Skipped as reason:
            print(f"| {name} | not done here: {reason} | |", flush=True)
            continue
        wrong += bool(found.wrong)
        cells = (found.fault, found.told, "; ".join(found.wrong) or "–")
        print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
