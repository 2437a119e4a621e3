"""The `settings.toml` of a results folder: where its jobs are, and where its runs are published."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmark.common.toml_files import Positive, TomlModel, Url, read_toml

FILE = "settings.toml"
LEASE = 120.0
KILLS = 5


class Settings(TomlModel):
    """The settings of a results folder.

    Attributes:
        database: SQLAlchemy URL of the job queue; by default ``jobs.db`` (SQLite) in the folder.
        mlflow: MLflow tracking URI; by default ``mlflow.db`` (SQLite) in the folder.
        lease: seconds without a renewal after which a running job goes back to the queue.
        kills: deaths of its worker after which a job fails; more is for machines that are taken away often.
    """

    database: Annotated[Url, Field(description="a URL like postgresql://user@host/landshift")] = ""
    mlflow: Annotated[Url, Field(description="a URL like http://host:5000")] = ""
    lease: Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number of seconds above 0")] = LEASE
    kills: Positive = KILLS

    @property
    def needs_http(self) -> bool:
        """The runs are published to an MLflow server."""
        return self.mlflow.startswith(("http://", "https://"))


def sqlite_address(file: Path) -> str:
    """Return the URL of a SQLite file, in which ``?`` and ``%`` of its path are escaped: they mean something in one.

    MLflow takes the rest of ``sqlite:///`` for a path as it is written, and would make that folder; so an escaped one
    names the driver.
    """
    escaped = str(file).replace("%", "%25").replace("?", "%3F")
    return f"sqlite{'' if escaped == str(file) else '+pysqlite'}:///{escaped}"


def read_settings(results: Path) -> Settings:
    """Return the settings of a results folder; defaults where it has no file.

    Raises:
        SettingsError: see `read_toml`.
    """
    results = results.resolve()
    settings = read_toml(results / FILE, Settings) if (results / FILE).exists() else Settings()
    own = {"database": sqlite_address(results / "jobs.db"), "mlflow": sqlite_address(results / "mlflow.db")}
    return settings.model_copy(update={key: url for key, url in own.items() if not getattr(settings, key)})
