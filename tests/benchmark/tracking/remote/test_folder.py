"""Files on a server are fetched one by one, whole, and never out of their folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.errors import TrackingError
from benchmark.tracking import sizes_of
from benchmark.tracking.remote.folder import RemoteFiles, forget


class _Client:
    files = {"settings.json": b"{}", "confusion/a.csv": b"1,2", "weights.safetensors": b"w" * 100}  # noqa: RUF012

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.broken = False

    def list_artifacts(self, run: str, folder: str | None) -> list[Any]:
        if folder:
            return [SimpleNamespace(path="confusion/a.csv", is_dir=False, file_size=3)]
        tops = {name.split("/")[0]: "/" in name for name in self.files}
        return [
            SimpleNamespace(path=name, is_dir=deep, file_size=None if deep else len(self.files[name]))
            for name, deep in tops.items()
        ]

    def download_artifacts(self, run: str, name: str, folder: str) -> str:
        self.fetched.append(name)
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[name][:1] if self.broken else self.files[name])
        if self.broken:
            raise OSError("the connection broke")
        return str(path)


def test_only_what_is_asked_for_is_fetched_and_only_once(tmp_path: Path) -> None:
    client = _Client()
    for _ in range(2):
        files = RemoteFiles(client, "0a1b", tmp_path / "fetched")
        assert (files / "settings.json").read_bytes() == b"{}"
        assert (files / "confusion/a.csv").read_bytes() == b"1,2"
        assert not (files / "nothing.npz").exists()
    assert client.fetched == ["settings.json", "confusion/a.csv"]
    assert sum(sizes_of(files).values()) == 105 and str(tmp_path) in str(files)
    forget(tmp_path / "fetched", "0a1b")
    assert list((tmp_path / "fetched").iterdir()) == []


def test_what_breaks_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    client = _Client()
    client.broken = True
    files = RemoteFiles(client, "0a1b", tmp_path)
    with pytest.raises(TrackingError, match=r"weights\.safetensors of run 0a1b cannot be fetched: the connection"):
        _ = files / "weights.safetensors"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    client.broken = False
    assert (files / "weights.safetensors").stat().st_size == 100


def test_no_name_leads_out(tmp_path: Path) -> None:
    for run in ("../x", "", "a/b", "0a1b\n"):
        with pytest.raises(TrackingError, match="no id"):
            RemoteFiles(_Client(), run, tmp_path)
    files = RemoteFiles(_Client(), "0a1b", tmp_path)
    for name in ("../settings.json", "/etc/passwd", "confusion/../../x", ""):
        with pytest.raises(TrackingError, match="no name"):
            _ = files / name
    forget(tmp_path, "..")
    assert tmp_path.exists()
