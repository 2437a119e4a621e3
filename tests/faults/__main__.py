"""Disturb a small grid in every way there is, and tell what the user saw and what was lost.

python -m tests.faults                       every single fault, a quarter of an hour on two cores
python -m tests.faults locked full           some of them
python -m tests.faults --kills 50            SIGKILL at 50 random moments, about an hour
python -m tests.faults --loop 2000           runs in one process: does it lose memory or file handles? half an hour
python -m tests.faults --memory              the peak with more patches, folds and runs, five minutes
python -m tests.faults --overheads           what tracking and scheduling take, on two idle cores, 25 minutes
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults import endurance, kills, overheads, single
from tests.faults.ground import Ground


def main() -> int:
    """The exit status is 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(single.FAULTS))
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="instead, SIGKILL at N random moments")
    parser.add_argument("--loop", type=int, default=0, metavar="N", help="instead, N tiny runs in one process")
    parser.add_argument("--memory", action="store_true", help="instead, peaks of memory; with --loop beside its runs")
    parser.add_argument("--overheads", action="store_true", help="instead, shares of time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="an empty one, kept for a look (default: a temporary one)")
    options = parser.parse_args()
    if unknown := set(options.faults) - set(single.FAULTS):
        parser.error(f"there is no fault {sorted(unknown)[0]}; there are {', '.join(single.FAULTS)}")
    with tempfile.TemporaryDirectory(prefix="landshift-faults-") as temporary:
        ground = Ground.made(options.folder or Path(temporary))
        if options.loop or options.memory:
            return _endurance(ground, options)
        if options.overheads:
            return _overheads(ground)
        return _kills(ground, options) if options.kills else _faults(ground, options.faults or list(single.FAULTS))


def _kills(ground: Ground, options: argparse.Namespace) -> int:
    found = kills.run(ground, options.kills, options.seed)
    print("\n| phase (what was killed) | times |\n|---|--:|")
    for phase, count in sorted(found.phases.items()):
        print(f"| {phase} | {count} |")
    print(
        f"\n{found.rounds} grids; {'; '.join(found.wrong) or 'every table is that of the undisturbed grid, to the bit'}"
    )
    return 1 if found.wrong else 0


def _endurance(ground: Ground, options: argparse.Namespace) -> int:
    many = ground.folder / "many"
    if options.loop:
        seen = endurance.many_runs(ground, options.loop, many)
        first = options.loop // 10
        memory, files = endurance.growth(seen, first)
        print(f"from run {first:,} on: {memory:+.1f} MiB in 1,000 runs, {files:+d} open files")
    if options.memory:
        endurance.peaks(ground.folder / "peaks", many if options.loop else None)
    return 0


def _overheads(ground: Ground) -> int:
    found = overheads.measure(ground)
    print(f"a run takes {found.run:.1f} s; tracking is {found.tracking:.2%} of it, scheduling {found.scheduling:.2%}")
    whole, without = found.workers
    print(f"one worker takes {whole:.2f} times as long as two; {without:.2f} times without start and report")
    print(f"two commands with half of the runs each gain {found.machine:.2f} times side by side, by the machine alone")
    return 0


def _faults(ground: Ground, names: list[str]) -> int:
    print("| what is done | what the user is told | what is lost | wrong |\n|---|---|---|---|", flush=True)
    wrong = 0
    for name in names:
        try:
            found = single.FAULTS[name](ground)
        except single.Skipped as reason:
            print(f"| {name} | not done here: {reason} | | |", flush=True)
            continue
        wrong += bool(found.wrong)
        cells = (found.fault, found.told, found.lost, "; ".join(found.wrong) or "–")
        print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
