"""Where a results folder keeps its jobs and publishes its runs: `settings.toml` of the folder."""

import re
import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from benchmark.errors import DataError, SettingsError
from benchmark.files import DESCRIPTION_BYTES, read_text

FILE = "settings.toml"
LEASE = 120.0
KILLS = 5


@dataclass(frozen=True)
class Settings:
    """The settings of a results folder.

    Attributes:
        database: SQLAlchemy URL of the job queue; by default ``jobs.db`` (SQLite) in the folder.
        mlflow: MLflow tracking URI; by default ``mlflow.db`` (SQLite) in the folder.
        lease: seconds without a renewal after which a running job goes back to the queue.
        kills: deaths of its worker after which a job fails, so that one that needs more memory than there is ends.
            More is for machines that are taken away often.
    """

    database: str
    mlflow: str
    lease: float = LEASE
    kills: int = KILLS

    @property
    def needs_http(self) -> bool:
        """Whether the runs are published to an MLflow server."""
        return self.mlflow.startswith(("http://", "https://"))


def read_settings(results: Path) -> Settings:
    """Return the settings of a results folder; defaults where it has no file.

    Raises:
        SettingsError: the file cannot be read, or a key or a value is not one of those allowed.
    """
    results = results.resolve()
    default: dict[str, Any] = {
        "database": f"sqlite:///{results / 'jobs.db'}",
        "mlflow": f"sqlite:///{results / 'mlflow.db'}",
    }
    path = results / FILE
    if not path.exists():
        return Settings(**default)
    try:
        content = tomllib.loads(read_text(path, DESCRIPTION_BYTES))
    except (OSError, ValueError, DataError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    known = [field.name for field in fields(Settings)]
    for key, value in content.items():
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(known)}"
            raise SettingsError(f"{path}: unknown key {key!r}; {hint}")
        if key == "lease":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise SettingsError(f"{path}: lease is a number of seconds above 0, not {value!r}")
        elif key == "kills":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingsError(f"{path}: kills is a whole number above 0, not {value!r}")
        elif not isinstance(value, str) or not re.match(r"[A-Za-z][\w+.-]*:/", value):
            raise SettingsError(f"{path}: {key} is a URL like {_EXAMPLE[key]}")  # the value may hold a password
    return Settings(**{**default, **content})


_EXAMPLE = {"database": "postgresql://user@host/landshift", "mlflow": "http://host:5000"}
