"""A cluster profile: what a task requests from Slurm, in a small TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from benchmark.errors import SettingsError

# What submitit or landshift writes into the batch file itself.
RESERVED = (
    "array", "dependency", "error", "job-name", "nodes", "ntasks-per-node", "open-mode", "output", "signal", "time",
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """What one task requests; what is empty or 0 is not requested, and the cluster's own default holds.

    Attributes:
        partition: or several with commas between.
        account: that is charged.
        gpus: of a task, 1 or, with a kind, "a100:1"; a run trains on one.
        cpus: of a task.
        memory: of a task, as Slurm writes it: "16G".
        time: after which a task is interrupted, and goes on from there; as Slurm writes it.
        at_once: tasks of a command that run at the same time, at most.
        runs_per_device: runs side by side in a task, which share its GPUs, CPUs and memory.
        attempts: killed tasks after which a run fails, and submissions in a row of which no task begins a run.
        setup: lines of shell before the task, for modules and variables.
        slurm: any further options of sbatch, by their long names; true for one without a value.
    """

    partition: str = ""
    account: str = ""
    gpus: int | str = 0
    cpus: int = 0
    memory: str = ""
    time: str = "4:00:00"
    at_once: int = 0
    runs_per_device: int = 1
    attempts: int = 3
    setup: tuple[str, ...] = ()
    slurm: Mapping[str, str | int | bool] = field(default_factory=dict)

    @property
    def minutes(self) -> int:
        """Return the time as whole minutes, rounded up."""
        return minutes_of(self.time)


def read_profile(path: Path) -> Profile:
    """Read the profile of a file.

    Raises:
        SettingsError: it cannot be read, or a key or value is not one of those allowed; the message names them.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the cluster profile {path} cannot be read: {error}") from error
    return make_profile(content, str(path))


def make_profile(content: Mapping[str, Any], name: str) -> Profile:
    """Return the profile from the content of a file.

    Args:
        content: the keys and values.
        name: of the file, for messages.

    Raises:
        SettingsError: a key or value is not one of those allowed; the message names them.
    """
    known = [field.name for field in fields(Profile)]
    for key in content:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            meant = f"did you mean {close[0]}? The keys" if close else "the keys"
            raise SettingsError(
                f"{name}: there is no key {key!r}; {meant} are {', '.join(known)}. Further options of sbatch stand "
                "below [slurm]"
            )
    for key, value in content.items():
        if wrong := _wrong(key, value):
            raise SettingsError(f"{name}: {key} is {wrong}, not {value!r}")
    slurm = content.get("slurm", {})
    if taken := [key for key in slurm if key.replace("_", "-") in RESERVED]:
        raise SettingsError(
            f"{name}: {taken[0]} below [slurm] is set by landshift itself, like all of {', '.join(RESERVED)}"
        )
    minutes_of(content.get("time", Profile.time), name)
    return Profile(**{**content, "setup": tuple(content.get("setup", ()))})


def _wrong(key: str, value: Any) -> str:
    """Return what a value should be, where it is not; "" where it is."""
    texts, least = ("partition", "account", "memory", "time"), {"at_once": 0, "cpus": 0, "gpus": 0}
    if key in texts:
        return "" if isinstance(value, str) else "a text"
    if key == "setup":
        return "" if isinstance(value, list) and all(isinstance(line, str) for line in value) else "a list of texts"
    if key == "slurm":
        plain = isinstance(value, dict) and all(isinstance(one, str | int) for one in value.values())
        return "" if plain else "a table of texts, whole numbers and truth values"
    if key == "gpus" and isinstance(value, str):
        return "" if value.rpartition(":")[2].isdigit() else 'a number, or a kind and a number like "a100:1"'
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least.get(key, 1)
    return "" if whole else f"a whole number of at least {least.get(key, 1)}"


def minutes_of(text: str, name: str = "profile") -> int:
    """Return a duration in whole minutes, rounded up.

    Args:
        text: as Slurm writes it: minutes, minutes:seconds, hours:minutes:seconds, or days-hours with or without these
            behind it.
        name: of the file, for messages.

    Raises:
        SettingsError: it is none of these.
    """
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdigit() for part in ([days] if dash else []) + parts) or len(parts) > 3:
        raise SettingsError(
            f'{name}: time is "minutes", "hours:minutes:seconds" or "days-hours:minutes:seconds", not {text!r}'
        )
    numbers = [int(part) for part in parts]
    if dash or len(numbers) == 3:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    total = int(days or 0) * 1440 + hours * 60 + minutes + -(-seconds // 60)
    if not total:
        raise SettingsError(f"{name}: time is at least a minute, not {text!r}")
    return total
