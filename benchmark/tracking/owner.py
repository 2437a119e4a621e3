"""Which process, and which task of a cluster, owns a run, so that one that was killed can be told from one at work."""

import os
import socket
import subprocess
from pathlib import Path


def this_process() -> str:
    """The owner tag of the calling process: host, process id and start time, with a space between."""
    return f"{socket.gethostname()} {os.getpid()} {_birth(os.getpid()) or 'unknown'}"


def this_task() -> str:
    """The Slurm task that the calling process is part of, as Slurm writes it: 17, or 17_3 of an array; "" if none."""
    array, index = (os.environ.get(f"SLURM_ARRAY_{name}_ID", "") for name in ("JOB", "TASK"))
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def is_gone(owner: str) -> bool:
    """Whether a run's owner has certainly ended.

    A process id is used again, so the start time is compared too. Of another host nothing is known from here
    (`benchmark.tracking.heartbeat` knows more), nor of an owner that cannot be read.
    """
    _, pid, birth = [*owner.split(" ", 2), "", "", ""][:3]
    if not is_here(owner) or not pid.isdigit() or birth in ("", "unknown"):
        return False
    return _birth(int(pid)) != birth


def how_it_went(owner: str) -> str:
    """What is said of a run whose process is gone."""
    host, pid = [*owner.split(" "), "", ""][:2]
    how = "was killed" if is_here(owner) else "has given no sign of life for minutes"
    return f"its process ({pid} on {host}) {how}"


def is_here(owner: str) -> bool:
    """Whether a run's owner is, or was, a process of this host."""
    return owner.partition(" ")[0] == socket.gethostname()


def is_of_this_boot(owner: str) -> bool:
    """Whether a run's owner is, or was, a process of this host since it was started: of this one alone, even where
    another has its name."""
    _, _, birth = [*owner.split(" ", 2), "", "", ""][:3]
    mine = _birth(os.getpid()) or ""
    return is_here(owner) and "-" in birth and birth.partition("-")[0] == mine.partition("-")[0]


def _birth(pid: int) -> str | None:
    """When a process started, in the system's own words; None if it is not running (a zombie is not)."""
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name, in brackets, may itself hold spaces and brackets: read from the last one on.
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        # Fields 3 (state) and 22 (start in clock ticks since boot) of proc(5).
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return None if fields[0] in "ZX" else f"{boot}-{fields[19]}"
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None
