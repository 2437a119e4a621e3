"""Which process owns a run, so that a run whose process was killed can be told from one that is still at work."""

import os
import socket
import subprocess
from pathlib import Path


def this_process() -> str:
    """The owner tag of the calling process: host, process id and start time, with a space between."""
    return f"{socket.gethostname()} {os.getpid()} {_birth(os.getpid()) or 'unknown'}"


def is_gone(owner: str) -> bool:
    """Whether a run's owner has certainly ended.

    A process id is used again, so the start time is compared too. Of another host nothing is known from here: its
    runs are left alone, like those of an owner that cannot be read.
    """
    host, pid, birth = [*owner.split(" ", 2), "", "", ""][:3]
    if host != socket.gethostname() or not pid.isdigit() or birth in ("", "unknown"):
        return False
    return _birth(int(pid)) != birth


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
