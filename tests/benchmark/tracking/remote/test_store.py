"""Which runs of a server are cells, and whose process is gone. The rest is tried on a real server (tests/server)."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.tracking import this_process
from benchmark.tracking.owner import is_of_this_boot
from benchmark.tracking.remote import pulse
from benchmark.tracking.remote.pulse import ALIVE, sign
from benchmark.tracking.remote.store import RemoteStore

HOST, PID, BIRTH = this_process().split(" ")
OLD = str(int((time.time() - 3600) * 1000))
BOOT = BIRTH.partition("-")[0]


def _run(id: str, owner: str = "", shown: str = OLD, stage: str = "active", **params: str) -> Any:
    info = SimpleNamespace(
        run_id=id, status="RUNNING", lifecycle_stage=stage, run_name="n", start_time=1000, end_time=None
    )
    tags = {"landshift.owner": owner, ALIVE: shown, "identity": "i"}
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags, params=params, metrics={}, _metric_objs=[]))


class _Page(list[Any]):
    token = ""


def _store(tmp_path: Path, *runs: Any) -> RemoteStore:
    store = RemoteStore(tmp_path, "http://s")
    known = {run.info.run_id: run for run in runs}
    store.__dict__["_client"] = SimpleNamespace(get_run=known.get, search_runs=lambda *asked: _Page(runs))
    return store


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells one boot from another")
def test_a_process_id_of_another_machine_of_this_name_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "WATCH", 0.01)
    assert is_of_this_boot(this_process()) and not is_of_this_boot(f"{HOST} {PID} 0000ffff-1")
    runs = [
        _run("a1", this_process()),  # an old sign of a process that is there: it only could not reach the server
        _run("a2", f"{HOST} {PID} {BOOT}-1", sign()),  # another process has its number now
        _run("a3", f"{HOST} {PID} 0000ffff-1", sign()),  # another container, at work
        _run("a4", f"{HOST} {PID} 0000ffff-1"),
        _run("a5", "elsewhere 17 x-1", sign()),
        _run("a6", "elsewhere 17 x-1"),
    ]
    assert _store(tmp_path, *runs).gone(runs) == {"a2", "a4", "a6"}


def test_a_run_of_which_nothing_is_known_yet_is_no_cell(tmp_path: Path) -> None:
    """It was made to ask for the cell, and may be deleted in a moment."""
    runs = [_run("a1"), _run("a2", method="m"), _run("a3", stage="deleted", method="m")]
    assert [record.id for record in _store(tmp_path, *runs).records("1", "cell")] == ["a2"]
