"""Tasks of a cluster that does what the test says; the jobs are in a real queue."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.errors import SettingsError, TrainingError
from benchmark.experiments import slurm
from benchmark.experiments.jobs import Job
from benchmark.experiments.launchers import follow
from benchmark.experiments.queue import DONE, Claim, Entry
from benchmark.experiments.results import Results
from benchmark.experiments.session import Ended
from benchmark.experiments.slurm import Slurm, SlurmWorkers, Status, folder_of
from benchmark.experiments.slurm_profile import Profile
from benchmark.experiments.slurm_task import Task, log_of, task_of


class Cluster:
    """Tasks in memory. At each look every task begins, and trains jobs until none is left that can be begun.

    Args:
        plays: by key, how the attempts at a job go; the last one holds for all further ones: "done", "fail", "run" for
            ever, or the state in which the task is killed while it trains.
        dies: the states in which the next tasks end before they claim a job.
    """

    def __init__(self, results: Results, plays: dict[str, list[str]] | None = None, dies: Sequence[str] = ()) -> None:
        self.results, self.plays, self.dies = results, plays or {}, list(dies)
        self.folder = folder_of(results.folder)
        self.folder.mkdir(exist_ok=True)
        self.tasks: dict[str, Task] = {}
        self.claims: dict[str, Claim] = {}
        self.statuses: dict[str, Status] = {}
        self.submissions: list[int] = []
        self.refusal = ""
        self.answers = True

    def submit(self, task: Task, count: int) -> list[str]:
        if self.refusal:
            raise SettingsError(self.refusal)
        self.submissions.append(count)
        names = [f"{len(self.submissions)}_{index}" for index in range(count)]
        self.tasks |= dict.fromkeys(names, task)
        self.statuses |= dict.fromkeys(names, Status("PENDING", "Resources"))
        return names

    def look(self) -> dict[str, Status] | None:
        found = dict(self.statuses)
        for name, status in found.items():
            if status.alive:
                self.statuses[name] = Status(self._begin(name) if status.state == "PENDING" else status.state)
        return found if self.answers else None

    def _begin(self, name: str) -> str:
        if self.dies and (state := self.dies.pop(0)):
            return state
        queue = self.results.queue
        while claim := queue.claim(f"slurm:{name}/0", self.tasks[name].keys):
            plays = self.plays.get(claim.key, ["done"])
            play = plays.pop(0) if len(plays) > 1 else plays[0]
            self.claims[claim.key] = claim
            if play == "done":
                self.finish(claim.key)
            elif play == "fail":
                queue.fail(claim, "no idea")
            else:
                return "RUNNING" if play == "run" else play
        return "COMPLETED"

    def finish(self, key: str) -> None:
        self.results.queue.finish(self.claims[key], {}, {}, {"target/miou": 0.5})

    def ending(self, task: str) -> str:
        return ""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look asks the cluster."""
    monkeypatch.setattr(slurm, "LOOK_EVERY", 0.0)


def _add(results: Results, *jobs: str) -> list[str]:
    """Add jobs; "b<a" starts from a."""
    pairs = [job.partition("<") for job in jobs]
    results.queue.add([Entry(key, parent, {}, {}) for key, _, parent in pairs], "e")
    return [key for key, _, _ in pairs]


def _run(
    results: Results, cluster: Cluster, keys: Sequence[str], profile: Profile | None = None
) -> tuple[dict[str, Ended], list[str]]:
    """Submit and follow; return how the jobs ended, and what was told."""
    ends, lines = dict[str, Ended](), list[str]()
    jobs = [Job("m", "f", 0, key) for key in keys]
    workers = SlurmWorkers(results, keys, profile or Profile(), lines.append, cluster)
    on_end = lambda ended: ends.setdefault(ended.job.identity, ended)  # noqa: E731
    follow(results, jobs, workers, lambda job, share: None, on_end, every=0.0)
    return ends, lines


def _error(results: Results, key: str) -> str:
    return results.queue.rows(keys=[key])[0].error


def test_every_job_has_a_task_and_ends_as_its_worker_says(results):
    keys = _add(results, "a", "b", "c")
    cluster = Cluster(results, {"b": ["fail"]})
    ends, lines = _run(results, cluster, keys)
    assert [ends[key].error for key in keys] == ["", "no idea", ""] and ends["a"].miou == 0.5
    assert cluster.submissions == [3]  # what fails is not tried again
    assert lines == ["3 tasks wait; Slurm says: Resources"]


def test_the_job_of_a_killed_task_goes_back_and_a_task_replaces_it(results):
    keys = _add(results, "a", "b")
    cluster = Cluster(results, {"a": ["OUT_OF_MEMORY", "NODE_FAIL", "done"], "b": ["run"]})
    log_of(cluster.folder, "1_0").write_text("No module named 'x'\nsubmitit INFO bye\nsrun: error\n")
    lines: list[str] = []
    workers = SlurmWorkers(results, keys, Profile(), lines.append, cluster)
    while results.queue.states()["a"][0] != DONE:
        assert workers.look()
    assert cluster.submissions == [2, 1, 1]  # b is being trained all the time
    ending = "1 run put back into the queue: its Slurm task 1_0 ended before it did (out of memory; log: "
    assert lines[1] == f"{ending}{log_of(cluster.folder, '1_0')}; last line: \"No module named 'x'\")"
    assert "2_0 ended before it did (node fail; " in lines[2] and len(lines) == 3


def test_a_job_fails_that_has_killed_so_many_tasks_and_says_why(results):
    (key,) = _add(results, "a")
    cluster = Cluster(results, {"a": ["OUT_OF_MEMORY"]})
    ends, _ = _run(results, cluster, [key], Profile(attempts=2))
    assert ends[key].error.startswith("its Slurm task 2_0 ended before it did (out of memory; log: ")
    assert ends[key].error.endswith("2 times") and cluster.submissions == [1, 1]


def test_tasks_that_begin_no_run_are_submitted_only_so_often(results):
    keys = _add(results, "a", "b")
    cluster = Cluster(results, dies=["FAILED"] * 20)
    log_of(cluster.folder, "3_1").write_text("this node does not see the results folder\n")
    why = r"3 submissions to Slurm .*: the last was 3_1 \(failed; log: .* 'this node does not see the results folder'\)"
    with pytest.raises(TrainingError, match=why):
        _run(results, cluster, keys)
    assert cluster.submissions == [2, 2, 2] and results.queue.states()["a"][0] == "queued"


def test_tasks_that_begin_runs_are_replaced_as_often_as_they_are_killed(results):
    keys = _add(results, "a", "b")
    cluster = Cluster(results, {"a": ["OUT_OF_MEMORY", "done"], "b": ["OUT_OF_MEMORY", "done"]})
    ends, _ = _run(results, cluster, keys, Profile(attempts=2, at_once=1))
    assert cluster.submissions == [1, 1, 1] and not any(end.error for end in ends.values()) and len(ends) == 2


def test_a_task_that_begins_no_run_is_not_replaced_while_others_work(results):
    """A node on which every task fails at once would take all of them."""
    keys = _add(results, "a", "b", "c")
    cluster = Cluster(results, {"a": ["run"]}, dies=["", "FAILED", "FAILED", "FAILED"])
    workers = SlurmWorkers(results, keys, Profile(), cluster=cluster)
    for _ in range(10):
        assert workers.look()
    assert cluster.submissions == [3]
    cluster.statuses["1_0"] = Status("NODE_FAIL")
    cluster.plays["a"] = ["done"]
    while "done" not in results.queue.states()["c"]:
        assert workers.look()
    assert cluster.submissions == [3, 3]


def test_after_scancel_nothing_is_submitted_before_the_next_call(results):
    keys = _add(results, "a", "b")
    cluster = Cluster(results, {"a": ["CANCELLED", "done"], "b": ["CANCELLED", "done"]})
    ends, lines = _run(results, cluster, keys)
    assert not ends and cluster.submissions == [2] and "tasks were cancelled" in lines[-1]
    assert "(cancelled; log" in _error(results, "a")
    ends, _ = _run(results, cluster, keys)
    assert len(ends) == 2 and cluster.submissions == [2, 2]


def test_a_job_that_starts_from_another_gets_a_task_when_that_is_done(results):
    keys = _add(results, "a", "other", "b<a", "c<a", "d<a")
    cluster = Cluster(results, {"a": ["run"], "b": ["run"], "c": ["run"]})
    workers = SlurmWorkers(results, keys, Profile(), cluster=cluster)
    for _ in range(3):
        workers.look()
    assert cluster.submissions == [2] and cluster.statuses["1_1"].state == "COMPLETED"
    cluster.finish("a")  # the task goes on with one of those that start from it
    cluster.statuses["1_0"] = Status("PENDING")
    for _ in range(4):
        workers.look()
    assert cluster.submissions == [2, 2] and results.queue.states()["d"][0] == DONE


def test_jobs_of_other_commands_workers_are_waited_for(results):
    keys = _add(results, "a", "b<a")
    claim = results.queue.claim("elsewhere:1:x/0")
    assert claim is not None
    cluster = Cluster(results)
    workers = SlurmWorkers(results, keys, Profile(), cluster=cluster)
    assert workers.look() and not cluster.submissions
    results.queue.finish(claim, {}, {}, {})
    assert workers.look() and cluster.submissions == [1]


def test_a_second_call_attaches_to_the_tasks_and_submits_the_rest(results):
    keys = _add(results, "a", "b", "c", "d")
    cluster = Cluster(results, {"a": ["run"], "b": ["NODE_FAIL", "done"]})
    first = SlurmWorkers(results, keys[:2], Profile(), cluster=cluster)
    assert (first.attached, first.submitted, first.arrays) == (0, 2, ["1"])
    cluster.look()  # and the command ends
    assert results.queue.rows(keys=["b"])[0].state == "running"
    second = SlurmWorkers(results, keys, Profile(), cluster=cluster)
    assert (second.attached, second.submitted, second.arrays) == (1, 3, ["1", "2"])
    assert "1_1 ended before it did (node fail" in _error(results, "b")
    third = SlurmWorkers(results, keys, Profile(), cluster=cluster)
    assert (third.attached, third.submitted) == (4, 0)
    assert cluster.tasks["2_0"].keys == keys


def test_nothing_is_submitted_or_concluded_without_an_answer(results):
    keys = _add(results, "a")
    cluster = Cluster(results, {"a": ["run"]})
    cluster.answers = False
    with pytest.raises(SettingsError, match="does not answer"):
        SlurmWorkers(results, keys, Profile(), cluster=cluster)
    cluster.answers = True
    workers = SlurmWorkers(results, keys, Profile(), cluster=cluster)
    workers.look()
    cluster.answers = False
    cluster.statuses["1_0"] = Status("NODE_FAIL")
    assert workers.look() and results.queue.states()["a"][0] == "running"
    cluster.answers = True
    cluster.statuses.clear()  # the controller has forgotten the task
    assert workers.look()
    assert _error(results, "a").startswith("its Slurm task 1_0 ended before it did (log: ")


def test_a_refusal_ends_the_command_only_if_no_task_is_alive(results):
    keys = _add(results, "a", "b")
    cluster = Cluster(results, {"a": ["NODE_FAIL", "done"], "b": ["run"]})
    lines: list[str] = []
    workers = SlurmWorkers(results, keys, Profile(), lines.append, cluster)
    cluster.refusal = "QOSMaxSubmitJobPerUserLimit"
    for _ in range(4):
        assert workers.look()
    assert lines.count(cluster.refusal) == 1
    cluster.statuses["1_1"] = Status("NODE_FAIL")
    with pytest.raises(SettingsError, match=cluster.refusal):
        workers.look()


@pytest.mark.parametrize(
    ("profile", "tasks"),
    [
        (Profile(runs_per_device=2), 2),
        (Profile(at_once=1), 1),
        (Profile(at_once=9), 3),
        (Profile(runs_per_device=4), 1),
    ],
)
def test_the_number_of_tasks(results, profile, tasks):
    keys = _add(results, "a", "b", "c")
    cluster = Cluster(results)
    ends, _ = _run(results, cluster, keys, profile)
    assert cluster.submissions == [tasks] and len(ends) == 3
    assert cluster.tasks["1_0"].count == profile.runs_per_device


def test_the_controller_is_not_asked_at_every_look(results, monkeypatch):
    monkeypatch.setattr(slurm, "LOOK_EVERY", 20.0)
    cluster = Cluster(results, {"a": ["run"]})
    workers = SlurmWorkers(results, _add(results, "a"), Profile(), cluster=cluster)
    asked = []
    monkeypatch.setattr(cluster, "look", lambda: asked.append(1) or {})
    assert all(workers.look() for _ in range(5)) and len(asked) == 1


def test_a_task_of_many_jobs_is_a_small_file(results):
    task = Task(results.folder, [f"{index:016x}" for index in range(2000)], 1, Path.cwd())
    assert len(pickle.dumps(task)) < 50_000 and pickle.loads(pickle.dumps(task)).keys == task.keys


def test_the_task_of_a_worker():
    assert task_of("slurm:17_3/0") == "17_3" and task_of("host:17:abc/0") == ""


class TestSlurm:
    """What submitit and Slurm's commands are called with."""

    @pytest.fixture
    def bin(self, tmp_path, monkeypatch) -> Path:
        """A folder with Slurm's commands, which print what a test writes into files beside them."""
        pytest.importorskip("submitit")
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("sbatch", "squeue", "srun", "scontrol", "sacct"):
            (folder / name).write_text('#!/bin/sh\necho "$@" >>"$0.calls"\ncp "$1" "$0.$$" 2>/dev/null\ncat "$0.out"\n')
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        return folder

    def test_what_a_profile_requests_is_in_the_batch_file(self, bin, results):
        profile = Profile(
            partition="gpu,long", account="lab", gpus="a100:1", cpus=4, memory="16G", time="1:00:00", at_once=3,
            setup=("module load cuda",), slurm={"qos": "high", "exclusive": True, "hold": False},
        )  # fmt: skip
        (bin / "sbatch.out").write_text("Submitted batch job 17\n")
        one = Slurm(results.folder, ["a", "b"], profile)
        assert one.submit(Task(results.folder, ["a"], 1, Path.cwd()), 3) == ["17_0", "17_1", "17_2"]
        (batch,) = [file.read_text() for file in bin.glob("sbatch.[0-9]*")]
        for line in (
            "partition=gpu,long", "account=lab", "gpus-per-node=a100:1", "cpus-per-task=4", "mem=16G", "time=60",
            "qos=high", "exclusive", "requeue", "signal=USR2@90", "array=0-2%3", f"job-name={one.name}",
            f"output={one.folder}/%A_%a_0_log.out",
        ):  # fmt: skip
            assert f"#SBATCH --{line}\n" in batch, line
        assert "hold" not in batch and "module load cuda" in batch and "srun --unbuffered" in batch
        assert "--cpus-per-task=4" in batch.partition("srun --unbuffered")[2]

    def test_a_command_finds_its_own_tasks(self, bin, results):
        one = Slurm(results.folder, ["a", "b"], Profile())
        (bin / "squeue.out").write_text("17_0|PENDING|Priority\n 17_1|OUT_OF_MEMORY|None\nnonsense\n")
        assert one.look() == {"17_0": Status("PENDING", "Priority"), "17_1": Status("OUT_OF_MEMORY", "None")}
        assert f"--name={one.name}" in (bin / "squeue.calls").read_text()
        assert Slurm(results.folder, ["b", "a"], Profile(time="9")).name == one.name
        assert Slurm(results.folder, ["a"], Profile()).name != one.name
        assert Slurm(results.folder.parent, ["a", "b"], Profile()).name != one.name

    def test_no_answer_is_none_and_the_accounting_knows_the_last_state(self, bin, results):
        one = Slurm(results.folder, ["a"], Profile())
        assert one.look() is None and one.ending("17_0") == ""
        (bin / "sacct.out").write_text("PREEMPTED\nCANCELLED by 1000\n")
        assert one.ending("17_0") == "CANCELLED"

    def test_a_refusal_is_slurms_own_words(self, bin, results):
        (bin / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
        with pytest.raises(SettingsError, match=r"Slurm refuses the tasks: .*invalid partition specified: x"):
            Slurm(results.folder, ["a"], Profile(partition="x")).submit(Task(results.folder, ["a"], 1, Path.cwd()), 1)

    def test_what_is_missing_is_named(self, bin, results):
        (bin / "scontrol").unlink()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(bin))
            with pytest.raises(SettingsError, match="this machine has no scontrol"):
                Slurm(results.folder, ["a"], Profile())
