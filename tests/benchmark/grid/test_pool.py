"""Worker processes: several at once, one that is killed, and a call that is interrupted."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest

from benchmark.grid.session import Session

pytestmark = pytest.mark.slow


def _run(session, jobs, workers, on_progress=lambda job, share: None):
    ends = []
    session.run(jobs, workers, on_progress, ends.append)
    return {end.job.identity: end for end in ends}


def test_workers_give_the_numbers_that_one_process_gives(session, plan, tmp_path):
    jobs = session.bench.jobs(["source-only", "style-randomization"], [11, 12])
    several = _run(session, jobs, 2)
    alone = _run(Session(replace(plan, results=tmp_path)), jobs, 1)
    assert len(several) == 8 and all(several[k].miou == alone[k].miou and not several[k].error for k in several)


WARM = """
import signal
from multiprocessing import forkserver
from pathlib import Path
from benchmark.grid.warm import warm_up
warm_up()
status = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/status").read_text()
blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
print(blocked >> (signal.SIGINT - 1) & 1, signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_ctrl_c_does_not_reach_the_server_that_workers_are_forked_from():
    # In a process of its own: what else multiprocessing has started by then makes a difference.
    said = subprocess.run([sys.executable, "-c", WARM], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["1", "False"]


def test_a_killed_worker_costs_its_job_only(plan, tmp_path):
    long = replace(plan, results=tmp_path, recipe=replace(plan.recipe, steps=400))
    session = Session(long)
    jobs = session.bench.jobs(["source-only"], [0, 1, 2], ["2020"])
    killed = []

    def kill_first(job, share):
        if not killed:
            running = [r for r in session.tracker.cells(session.experiment) if r.identity == job.identity]
            killed.append(job.identity)
            os.kill(int(running[0].tags["landshift.owner"].split(" ")[1]), signal.SIGKILL)

    ends = _run(session, jobs, 2, kill_first)
    assert len(ends) == 3
    assert "SIGKILL" in ends[killed[0]].error
    assert [bool(end.error) for identity, end in ends.items() if identity != killed[0]] == [False, False]
    assert session.tracker.close_stale(session.experiment) == 1
    assert [job.identity for job in session.left(jobs)] == killed


def test_two_calls_at_once_share_the_work(plan, tmp_path):
    command = [
        *(sys.executable, "-m", "benchmark", "run", plan.protocol, "--data", str(plan.data)),
        *("--method", "source-only", "--method", "oracle", "--workers", "1", "--steps", "30", "--accelerator", "cpu"),
        *("--results", str(tmp_path), "--stores", str(plan.stores)),
    ]
    calls = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [call.communicate(timeout=200)[0] for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    assert sum(text.count("target mIoU ") - text.count("─target mIoU") for text in printed) >= 4
    session = Session(replace(plan, results=tmp_path))
    identities = [record.identity for record in session.tracker.cells(session.experiment)]
    assert len(identities) == len(set(identities)) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_call_keeps_what_is_finished_and_the_next_goes_on(plan, tmp_path, number):
    command = [
        *(sys.executable, "-m", "benchmark", "run", plan.protocol, "--data", str(plan.data)),
        *("--method", "source-only", "--seeds", "0,1,2", "--folds", "2020", "--workers", "2", "--steps", "150"),
        *("--results", str(tmp_path), "--stores", str(plan.stores), "--accelerator", "cpu"),
    ]
    # What runs in the background of a shell ignores Ctrl-C, and its children would, too.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=default)
    while "[1/3]" not in (line := process.stdout.readline()):
        assert line, "ended before the first run did"
    process.send_signal(number)
    assert process.wait(60) == 130
    time.sleep(1)
    again = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    done = int(again.stdout.split(" done before")[0].split()[-1])
    assert 1 <= done < 3 and "FAILED" not in again.stdout


def test_workers_are_spread_over_the_gpus(plan, tmp_path, monkeypatch):
    """Each sees the one that it was given, which a method of its own writes into the store as its failure."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "telling.py").write_text(
        "import os\nfrom methods.base import Method\n\n\nclass Telling(Method):\n"
        '    """Tells what it sees."""\n\n    def losses(self, source, target, progress):\n'
        '        raise RuntimeError("sees GPU " + os.environ["CUDA_VISIBLE_DEVICES"])\n'
    )
    session = Session(replace(plan, results=tmp_path))
    jobs = session.bench.jobs(["telling:Telling"], [0, 1, 2, 3], ["2020"])
    ends = []
    session.run(jobs, 2, lambda job, share: None, ends.append, gpus=["GPU-a", "GPU-b"])
    seen = {end.error.split("sees GPU ")[1].split(" ")[0] for end in ends}
    assert seen == {"GPU-a", "GPU-b"}
