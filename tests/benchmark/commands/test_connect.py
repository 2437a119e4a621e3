"""`landshift connect`: what it changes, and what it refuses."""

from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.tracking.remote import trial


def test_connecting_telling_and_disconnecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trial, "try_server", lambda address: "3.17")
    results = ["--results", str(tmp_path)]
    (tmp_path / "mlflow.db").write_bytes(b"")
    assert main(["connect", "http://s:5000/", *results]) == 0
    said = capsys.readouterr().out
    assert "MLflow 3.17 on http://s:5000\n" in said and "seen again after --off" in said
    (tmp_path / "outbox" / "0a").mkdir(parents=True)
    (tmp_path / "outbox" / "0a" / "journal.jsonl").write_bytes(b"")
    assert main(["connect", *results]) == 0
    assert "what 1 runs logged waits" in capsys.readouterr().out
    assert main(["connect", "--off", *results]) == 1  # it would never arrive
    assert "landshift run delivers it" in capsys.readouterr().err
    (tmp_path / "outbox" / "0a" / "journal.jsonl").unlink()
    assert main(["connect", "--off", *results]) == 0 and not (tmp_path / "server.toml").exists()
    assert "no server any more" in capsys.readouterr().out


def test_what_makes_no_sense_is_told_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["http://s", "--off"], ["s:5000"], ["http://me:pw@s"]):
        assert main(["connect", *words, "--results", str(tmp_path / "r")]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "r").exists()
