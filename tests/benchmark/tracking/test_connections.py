"""Which server a folder is connected to, and that nothing else can be written there."""

from pathlib import Path

import pytest

from benchmark.errors import TrackingError
from benchmark.tracking import Tracker, is_store
from benchmark.tracking.connections import checked_address, connect, connection, disconnect, undelivered
from benchmark.tracking.remote import trial


def test_a_folder_is_connected_and_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "try_server", lambda address: "3.17")
    folder = tmp_path / "r"
    assert connection(folder) == "" and not is_store(folder)
    assert connect(folder, "http://server:5000/") == "3.17"
    assert connection(folder) == "http://server:5000" and is_store(folder)
    assert undelivered(folder) == 0
    assert disconnect(folder) and not disconnect(folder) and connection(folder) == ""


def test_a_server_that_cannot_be_used_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str) -> str:
        raise TrackingError("nobody there")

    monkeypatch.setattr(trial, "try_server", refuse)
    with pytest.raises(TrackingError, match="nobody"):
        connect(tmp_path / "r", "http://server:5000")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "address",
    ["server:5000", "ftp://server", "file:///etc", "http://", "http://s:port", "http://a b", "http://s\x1b[2J"],
)
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(TrackingError, match="an address is http"):
        checked_address(address, "an address")


@pytest.mark.parametrize("address", ["http://me:secret@server", "http://server?x=1", "http://server#x"])
def test_a_login_does_not_go_into_a_file(address: str) -> None:
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_PASSWORD"):
        checked_address(address, "an address")


@pytest.mark.parametrize("text", ["", "url = 3", 'url = "http://s"\nmore = 1', "url", "\xff", 'url = "gopher://s"'])
def test_a_file_that_names_no_server_is_an_error_and_no_store_is_made(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(TrackingError, match=r"server\.toml"):
        Tracker(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()
