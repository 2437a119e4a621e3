"""Hostile files given to landshift's readers, and what became of each.

    python -m tests.faults.hostile --inputs 1000 --seed 0

Valid files are changed by a generator of a fixed seed, and others are made to do harm: pickles that pose as weights,
XML that poses as a GeoTIFF, addresses, links and names that lead elsewhere, headers of absurd size. Each is given to
the function that a command gives it to, in a process that may die or be killed. What is counted:

refused   an error of landshift's own, which the command line prints as one line
accepted  it was read, as harmless
traceback any other exception: a bug
crash     the process died
time-out  it took more than `SECONDS`
code      a file that a payload would have made is there
outside   something outside of the input's folder was changed, or the secret that lies there was read
network   a server on this machine was asked for something
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from tests.faults.inputs import KINDS, Place

OUTCOMES = ("refused", "accepted", "traceback", "crash", "time-out", "code", "outside", "network")
BAD = OUTCOMES[2:]
SECONDS = 30.0  # for one input


class Watched:
    """A worker that answers a line an input; a new one where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, kind: str, folder: Path) -> tuple[str, str]:
        """Outcome and message of one input."""
        import selectors

        process = self._process = self._process if self._process and self._process.poll() is None else _start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{kind}\t{folder}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            if not ready.select(SECONDS):
                self.close()
                return "time-out", f"after {SECONDS:.0f} s"
        line = process.stdout.readline()
        if not line:
            return "crash", f"exit status {process.wait()}"
        outcome, _, told = line.rstrip("\n").partition("\t")
        return outcome, told

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


def _start() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.faults.readers"]
    here = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        command, cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


SERVER = """
import http.server, sys
class Counting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[1], "a").write(self.path + "\\n")
        self.send_error(404)
    do_HEAD = do_GET
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
print(server.server_port, flush=True)
server.serve_forever()
"""
"""In a process of its own: GDAL waits for an answer with Python's lock held."""


def run(
    inputs: int,
    seed: int,
    kinds: Sequence[str] = tuple(KINDS),
    ask: Callable[[str, Path], tuple[str, str]] | None = None,
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Outcomes by kind, and a line for each that is bad.

    Args:
        ask: gives an input to its reader; default: a `Watched` worker.
    """
    table: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="landshift-hostile-") as base:
        place = Place(Path(base))
        asked = place.base / "asked"
        asked.touch()
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(asked)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        place.port = int(server.stdout.readline())
        worker = Watched()
        try:
            for number in range(inputs):
                kind = kinds[number % len(kinds)]
                # Addressed, so that one input can be made again without those before it.
                rng = random.Random(f"{seed} {number}")
                folder = place.fresh(number)
                KINDS[kind](place, folder, rng)
                before = place.outside()
                outcome, told = (ask or worker.ask)(kind, folder)
                if place.sentinel.exists():
                    outcome, told = "code", told
                    place.sentinel.unlink()
                elif place.outside() != before or place.secret_in(told):
                    outcome = "outside"
                elif asked.read_text():
                    outcome = "network"
                    asked.write_text("")
                table[kind][outcome] += 1
                if outcome in BAD:
                    bad.append(f"{kind} {number}: {outcome}: {told[:300]}")
                place.remove(folder)
        finally:
            worker.close()
            server.kill()
            server.wait()
    return table, bad


def as_markdown(table: dict[str, Counter[str]]) -> str:
    """A row a kind, and one of all."""
    lines = [f"| input | {' | '.join(OUTCOMES)} |", f"|---|{'--:|' * len(OUTCOMES)}"]
    rows = [*table.items(), ("all", sum(table.values(), Counter[str]()))]
    lines += [f"| {kind} | {' | '.join(str(found[name]) for name in OUTCOMES)} |" for kind, found in rows]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="give hostile files to landshift's readers")
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS), help="only this kind of input")
    options = parser.parse_args()
    started = time.monotonic()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    table, bad = run(options.inputs, options.seed, (options.kind,) if options.kind else tuple(KINDS))
    print(as_markdown(table))
    print(f"\n{options.inputs} inputs, seed {options.seed}, {time.monotonic() - started:.0f} s; {len(bad)} bad")
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
