"""Which server a results folder is connected to: one line in a small file of the folder."""

import json
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from benchmark.errors import DataError, TrackingError
from benchmark.files import DESCRIPTION_BYTES, read_text
from benchmark.texts import unfit

FILE = "server.toml"


def connection(results: Path) -> str:
    """The address of the server that a results folder is connected to; "" if to none.

    Raises:
        TrackingError: the file that says so cannot be read, or names no address.
    """
    path = results / FILE
    if not path.exists():
        return ""
    try:
        content = tomllib.loads(read_text(path, DESCRIPTION_BYTES))
    except (OSError, ValueError, DataError, RecursionError) as error:
        raise TrackingError(f"{path}: not readable ({' '.join(str(error).split())})") from error
    if set(content) != {"url"} or not isinstance(content["url"], str):
        raise TrackingError(f'{path}: expected is one line, url = "http://HOST:PORT", not {sorted(content)}')
    return checked_address(content["url"], f"an address, in {path},")


def checked_address(address: str, origin: str) -> str:
    """An address of a server as it is used: without what comes after the path, and without a slash at its end.

    Args:
        origin: what the message names.

    Raises:
        TrackingError: it is none.
    """
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or unfit([address]) or " " in address:
        raise TrackingError(f"{origin} is http://HOST:PORT or https://HOST, not {address!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise TrackingError(
            f"{origin} has no name, password, '?' or '#'; a login goes into the environment variables "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return address.rstrip("/")


def connect(results: Path, address: str) -> str:
    """Connect a results folder, made if it is missing, to a server; MLflow's version there.

    Raises:
        TrackingError: the server cannot be used; then nothing is changed.
    """
    from benchmark.tracking.remote.trial import try_server  # imports MLflow

    usable = checked_address(address, "an address")
    version = try_server(usable)
    fresh = results / f"{FILE}.new"
    try:
        results.mkdir(parents=True, exist_ok=True)
        fresh.write_text(f"url = {json.dumps(usable)}\n", encoding="utf-8")
        fresh.replace(results / FILE)
    except OSError as error:
        raise TrackingError(f"{results} cannot be connected: {error}") from error
    return version


def undelivered(results: Path) -> int:
    """Runs of which something waits to be delivered, or is on its way."""
    from benchmark.tracking.remote.left import waiting

    return len(waiting(results))


def disconnect(results: Path) -> bool:
    """Forget the server; whether there was one."""
    there = (results / FILE).exists()
    (results / FILE).unlink(missing_ok=True)
    return there
