"""Tasks of a cluster that does what the test says, with a real queue; and what Slurm's commands are called with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmark.common.errors import SettingsError, TrainingError
from benchmark.common.toml_files import read_toml
from benchmark.experiments import slurm
from benchmark.experiments.jobs import Job
from benchmark.experiments.launchers import follow
from benchmark.experiments.queue import DONE, Claim, Entry, Queue
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Ended
from benchmark.experiments.slurm import ENDED, Profile, SlurmWorkers
from benchmark.experiments.slurm_task import SlurmTask


class Cluster:
    """Tasks in memory. At each look every task begins, and trains jobs until none is left that can be begun.

    Attributes:
        plays: by key, how the attempts at a job go until it is done: "fail", or the state that the task then has.
        dies: the states in which the next tasks end before they claim a job.
    """

    def __init__(self, results: ResultsFolder, *jobs: str) -> None:
        pairs = [job.partition("<") for job in jobs]
        self.results, self.keys = results, [key for key, _, _ in pairs]
        results.queue.add([Entry(key, parent, {}, {}) for key, _, parent in pairs], "e")
        self.plays: dict[str, list[str]] = {}
        self.dies, self.lines, self.submissions, self.refusal = list[str](), list[str](), list[int](), ""
        self.tasks: dict[str, SlurmTask] = {}
        self.claims: dict[str, Claim] = {}
        self.states: dict[str, tuple[str, str]] = {}
        self.answers, self.waits = True, False
        (results.folder / "slurm").mkdir()

    def submit(self, task: SlurmTask, count: int, profile: Profile, name: str) -> list[str]:
        if self.refusal:
            raise SettingsError(self.refusal)
        self.submissions.append(count)
        names = [f"{len(self.submissions)}_{index}" for index in range(count)]
        self.tasks |= dict.fromkeys(names, task)
        self.states |= dict.fromkeys(names, ("PENDING", "Resources"))
        return names

    def ask(self, name: str) -> dict[str, tuple[str, str]] | None:
        found = dict(self.states)
        for task, (state, _) in found.items():
            if state not in ENDED and not self.waits:
                self.states[task] = (self._begin(task) if state == "PENDING" else state, "None")
        return found if self.answers else None

    def _begin(self, name: str) -> str:
        if self.dies and (state := self.dies.pop(0)):
            return state
        queue = self.results.queue
        while claim := queue.claim(f"slurm:{name}/0", self.tasks[name].keys):
            self.claims[claim.key] = claim
            if not (plays := self.plays.get(claim.key)):
                self.finish(claim.key)
            elif (play := plays.pop(0)) != "fail":
                return play
            else:
                queue.fail(claim, "no idea")
        return "COMPLETED"

    def finish(self, key: str) -> None:
        self.results.queue.finish(self.claims[key], {}, {}, {"target/miou": 0.5})

    def workers(self, profile: Profile | None = None, keys: Sequence[str] | None = None) -> SlurmWorkers:
        self.lines.clear()
        return SlurmWorkers(self.results, keys or self.keys, profile or Profile(), self.lines.append)

    def run(self, profile: Profile | None = None) -> dict[str, Ended]:
        """Submit and follow; return how the jobs ended."""
        ends = dict[str, Ended]()
        on_end = lambda ended: ends.setdefault(ended.job.identity, ended)  # noqa: E731
        jobs = [Job("m", "f", 0, key) for key in self.keys]
        follow(self.results, jobs, self.workers(profile), lambda job, share: None, on_end, every=0.0)
        return ends

    def log(self, task: str) -> Path:
        return self.results.folder / "slurm" / f"{task}_0_log.out"

    def state(self, key: str) -> str:
        return self.results.queue.states()[key][0]

    def error(self, key: str) -> str:
        return self.results.queue.rows(keys=[key])[0].error


@pytest.fixture
def make(results: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    """Make a cluster and add jobs to its queue; "b<a" starts from a."""

    def made(*jobs: str) -> Cluster:
        cluster = Cluster(results, *jobs)
        monkeypatch.setattr(slurm, "ask", cluster.ask)
        monkeypatch.setattr(slurm, "submit", cluster.submit)
        return cluster

    return made


def test_every_job_has_a_task_and_ends_as_its_worker_says(make):
    cluster = make("a", "b", "c")
    cluster.plays["b"] = ["fail"]
    ends = cluster.run()
    assert [ends[key].error for key in "abc"] == ["", "no idea", ""] and ends["a"].miou == 0.5
    assert cluster.submissions == [3]  # what fails is not tried again
    assert cluster.lines[0] == f"Slurm: 3 tasks submitted, 0 there before; logs in {cluster.results.folder}/slurm"
    assert cluster.lines[1:] == ["3 tasks wait; Slurm says: Resources"]


def test_why_all_tasks_wait_is_said_once(make):
    cluster = make("a", "b")
    workers, cluster.waits = cluster.workers(), True
    for state in ("PENDING", "Priority"), ("PENDING", "Priority"), ("PENDING", "None"), ("RUNNING", "Priority"):
        cluster.states |= {"1_0": state, "1_1": ("PENDING", "Resources")}
        assert workers.look()
    assert cluster.lines[1:] == ["2 tasks wait; Slurm says: Priority, Resources", "2 tasks wait; Slurm says: Resources"]


def test_the_job_of_a_killed_task_goes_back_and_a_task_replaces_it(make):
    cluster = make("a", "b")
    cluster.plays = {"a": ["OUT_OF_MEMORY", "NODE_FAIL"], "b": ["RUNNING"]}
    why = "No module named " + 300 * "x"
    cluster.log("1_0").write_text(f"{why}\nsubmitit INFO bye\nsrun: error\n")
    workers = cluster.workers()
    while cluster.state("a") != DONE:
        assert workers.look()
    assert cluster.submissions == [2, 1, 1]  # b is being trained all the time
    ending = "1 run put back into the queue: its Slurm task 1_0 ended before it did (out of memory; log: "
    assert cluster.lines[2] == f"{ending}{cluster.log('1_0')}; last line: '{why[:200]}')"
    assert "2_0 ended before it did (node fail; " in cluster.lines[3] and len(cluster.lines) == 4


def test_a_job_fails_that_has_killed_so_many_tasks_and_says_why(make):
    cluster = make("a")
    cluster.plays["a"] = ["OUT_OF_MEMORY"] * 3
    error = cluster.run(Profile(attempts=2))["a"].error
    assert error.startswith("its Slurm task 2_0 ended before it did (out of memory; log: ")
    assert error.endswith("2 times") and cluster.submissions == [1, 1]


def test_tasks_that_begin_no_run_are_submitted_only_so_often(make):
    cluster = make("a", "b")
    cluster.dies = ["FAILED"] * 20
    cluster.log("3_1").write_text("this node does not see the results folder\n")
    why = r"3 submissions to Slurm .*: the last was 3_1 \(failed; log: .* 'this node does not see the results folder'\)"
    with pytest.raises(TrainingError, match=why):
        cluster.run()
    assert cluster.submissions == [2, 2, 2] and cluster.state("a") == "queued"


def test_tasks_that_begin_runs_are_replaced_as_often_as_they_are_killed(make):
    cluster = make("a", "b")
    cluster.plays = {key: ["OUT_OF_MEMORY"] for key in "ab"}
    ends = cluster.run(Profile(attempts=2, at_once=1))
    assert cluster.submissions == [1, 1, 1] and not any(end.error for end in ends.values()) and len(ends) == 2


def test_a_task_that_begins_no_run_is_not_replaced_while_others_work(make):
    """A node on which every task fails at once would take all of them."""
    cluster = make("a", "b", "c")
    cluster.plays["a"], cluster.dies = ["RUNNING"], ["", "FAILED", "FAILED", "FAILED"]
    workers = cluster.workers()
    assert all(workers.look() for _ in range(10)) and cluster.submissions == [3]
    cluster.states["1_0"] = ("NODE_FAIL", "")
    while cluster.state("c") != DONE:
        assert workers.look()
    assert cluster.submissions == [3, 3]


def test_after_scancel_nothing_is_submitted_before_the_next_call(make):
    cluster = make("a", "b", "c")
    cluster.plays = {"a": ["CANCELLED"], "b": ["RUNNING", "NODE_FAIL"], "c": ["RUNNING"]}
    workers = cluster.workers()
    assert all(workers.look() for _ in range(3))  # the task of b goes on
    cluster.states |= {"1_1": ("NODE_FAIL", ""), "1_2": ("NODE_FAIL", "")}
    assert not workers.look() and cluster.submissions == [3] and "tasks were cancelled" in cluster.lines[-1]
    assert "(cancelled; log" in cluster.error("a") and "(node fail; log" in cluster.error("b")
    assert len(cluster.run()) == 3 and cluster.submissions[:2] == [3, 3]


def test_a_task_that_is_cancelled_while_it_waits_is_not_listed(make):
    cluster = make("a", "b")
    workers, cluster.waits = cluster.workers(), True
    del cluster.states["1_1"]
    assert workers.look() and cluster.submissions == [2]
    cluster.states.clear()
    assert not workers.look() and "tasks were cancelled" in cluster.lines[-1]
    workers, cluster.answers = cluster.workers(), False
    assert workers.look()  # meanwhile it could end in any way
    cluster.states.clear()
    cluster.answers = True
    assert workers.look() and cluster.submissions == [2, 2, 2]


def test_a_command_whose_jobs_are_done_by_others_ends_well_after_scancel(make):
    cluster = make("a", "b")
    cluster.dies = ["CANCELLED"]
    assert len(cluster.run()) == 2 and not any("cancelled" in line for line in cluster.lines)


def test_a_job_that_starts_from_another_gets_a_task_when_that_is_done(make):
    cluster = make("a", "other", "b<a", "c<a", "d<a")
    cluster.plays = {key: ["RUNNING"] for key in "abc"}
    workers = cluster.workers()
    for _ in range(3):
        workers.look()
    assert cluster.submissions == [2] and cluster.states["1_1"][0] == "COMPLETED"
    cluster.finish("a")  # the task goes on with one of those that start from it
    cluster.states["1_0"] = ("PENDING", "")
    for _ in range(4):
        workers.look()
    assert cluster.submissions == [2, 2] and cluster.state("d") == DONE


def test_jobs_of_other_commands_workers_are_waited_for(make):
    cluster = make("a", "b<a")
    claim = cluster.results.queue.claim("elsewhere:1:x/0")
    workers = cluster.workers()
    assert workers.look() and not cluster.submissions
    cluster.results.queue.finish(claim, {}, {}, {})
    assert workers.look() and cluster.submissions == [1]


def test_a_job_whose_worker_is_dead_gets_a_task(make):
    cluster = make("a")
    Queue(cluster.results.database, lease=-1.0).claim("elsewhere:1:x/0")
    cluster.workers()
    assert cluster.submissions == [1]


def test_a_second_call_attaches_to_the_tasks_and_submits_the_rest(make):
    cluster = make("a", "b", "c", "d")
    cluster.plays = {"a": ["RUNNING"], "b": ["NODE_FAIL"]}
    cluster.workers(keys=cluster.keys[:2])
    assert "2 tasks submitted, 0 there before" in cluster.lines[0]
    cluster.ask("")  # and the command ends
    assert cluster.state("b") == "running"
    cluster.workers()
    assert "3 tasks submitted, 1 there before" in cluster.lines[-1]
    assert "1_1 ended before it did (node fail" in cluster.error("b")
    cluster.workers()
    assert "0 tasks submitted, 4 there before" in cluster.lines[-1]
    assert cluster.tasks["2_0"].keys == cluster.keys


def test_nothing_is_submitted_or_concluded_without_an_answer(make):
    cluster = make("a")
    cluster.plays["a"], cluster.answers = ["RUNNING"], False
    with pytest.raises(SettingsError, match="does not answer"):
        cluster.workers()
    cluster.answers = True
    workers = cluster.workers()
    workers.look()
    cluster.answers = False
    cluster.states["1_0"] = ("NODE_FAIL", "")
    assert workers.look() and cluster.state("a") == "running"
    cluster.answers = True
    cluster.states.clear()  # the controller has forgotten the task
    assert workers.look()
    assert cluster.error("a").startswith("its Slurm task 1_0 ended before it did (log: ")


def test_a_refusal_ends_the_command_only_if_no_task_is_alive(make):
    cluster = make("a", "b")
    cluster.plays = {"a": ["NODE_FAIL"], "b": ["RUNNING"]}
    workers = cluster.workers()
    cluster.refusal = "QOSMaxSubmitJobPerUserLimit"
    assert all(workers.look() for _ in range(4)) and cluster.lines.count(cluster.refusal) == 1
    cluster.states["1_1"] = ("NODE_FAIL", "")
    with pytest.raises(SettingsError, match=cluster.refusal):
        workers.look()


@pytest.mark.parametrize(("several", "at_once", "tasks"), [(2, 1000, 2), (1, 1, 1), (1, 9, 3), (4, 1000, 1)])
def test_the_number_of_tasks(make, several, at_once, tasks):
    cluster = make("a", "b", "c")
    ends = cluster.run(Profile(runs_per_device=several, at_once=at_once))
    assert len(ends) == 3 and cluster.submissions == [tasks] and cluster.tasks["1_0"].count == several


def test_a_command_is_known_by_its_jobs_and_its_folder(make, results, tmp_path):
    cluster = make("a", "b")
    name = cluster.workers().name
    assert cluster.workers(Profile(time="9"), ["b", "a"]).name == name != cluster.workers(keys=["a"]).name
    assert SlurmWorkers(ResultsFolder(tmp_path / "other"), ["a", "b"], Profile(), print).name != name


WHOLE = """
partition = "gpu,long"
account = "lab"
gpus = "a100:1"
cpus = 4
memory = "16G"
time = "1-12:00:00"
at_once = 2
runs_per_device = 2
attempts = 5
setup = ["module load cuda"]

[slurm]
qos = "high"
exclusive = true
hold = false
nice = 0
"""


class TestCommands:
    """What submitit and Slurm's commands are called with."""

    @pytest.fixture
    def bin(self, tmp_path, monkeypatch) -> Path:
        """A folder with Slurm's commands, which print what a test writes into files beside them."""
        pytest.importorskip("submitit")
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("sbatch", "squeue", "srun", "scontrol"):
            (folder / name).write_text('#!/bin/sh\necho "$@" >>"$0.calls"\ncp "$1" "$0.$$" 2>/dev/null\ncat "$0.out"\n')
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        return folder

    def test_what_a_profile_requests_is_in_the_batch_file(self, bin, results, tmp_path):
        (tmp_path / "cluster.toml").write_text(WHOLE)
        profile = read_toml(tmp_path / "cluster.toml", Profile)
        (bin / "sbatch.out").write_text("Submitted batch job 17\n")
        assert slurm.submit(SlurmTask(results.folder, ["a"], 1, Path.cwd()), 3, profile, "mine") == [
            "17_0",
            "17_1",
            "17_2",
        ]
        (batch,) = [file.read_text() for file in bin.glob("sbatch.[0-9]*")]
        for line in (
            "partition=gpu,long", "account=lab", "gpus-per-node=a100:1", "cpus-per-task=4", "mem=16G", "time=2160",
            "qos=high", "exclusive", "nice=0", "requeue", "signal=USR2@90", "array=0-2%3", "job-name=mine",
            f"output={results.folder}/slurm/%A_%a_0_log.out",
        ):  # fmt: skip
            assert f"#SBATCH --{line}\n" in batch, line
        assert "hold" not in batch and "module load cuda" in batch and "srun --unbuffered" in batch
        assert "--cpus-per-task=4" in batch.partition("srun --unbuffered")[2]
        assert (profile.at_once, profile.runs_per_device, profile.attempts) == (2, 2, 5)

    def test_what_a_profile_lacks_is_not_requested(self, bin, results):
        (bin / "sbatch.out").write_text("Submitted batch job 17\n")
        assert slurm.submit(SlurmTask(results.folder, ["a"], 1, Path.cwd()), 1, Profile(time="1"), "mine") == ["17"]
        (batch,) = [file.read_text() for file in bin.glob("sbatch.[0-9]*")]
        assert "time=1\n" in batch and "signal=USR2@30\n" in batch
        assert not any(word in batch for word in ("partition", "account", "gpus", "cpus", "mem", "array"))

    def test_a_command_asks_for_its_own_tasks(self, bin):
        (bin / "squeue.out").write_text("17_0|PENDING|Priority\n 17_1|OUT_OF_MEMORY|None\nnonsense\n")
        assert slurm.ask("mine") == {"17_0": ("PENDING", "Priority"), "17_1": ("OUT_OF_MEMORY", "None")}
        assert "--name=mine" in (bin / "squeue.calls").read_text()
        (bin / "squeue.out").unlink()  # and cat fails
        assert slurm.ask("mine") is None

    def test_a_refusal_is_slurms_own_words(self, bin, results):
        (bin / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
        with pytest.raises(SettingsError, match=r"Slurm refuses the tasks: .*invalid partition specified: x"):
            slurm.submit(SlurmTask(results.folder, ["a"], 1, Path.cwd()), 1, Profile(partition="x"), "mine")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:30", 91), ("2:00:00", 120), ("1-0", 1440), ("1-2:30", 1590), ("1-2:30:01", 1591), ("0:01", 1)],
)
def test_times_are_slurms(text: str, minutes: int) -> None:
    assert Profile(time=text).minutes == minutes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu = 1", "cluster.toml: there is no key 'gpu'; did you mean gpus. The keys are partition, account, gpus"),
        ('qos = "long"', "are partition.* Further options of sbatch go below .slurm."),
        ("attempts = 0", "attempts is a whole number of at least 1, not 0"),
        ("runs_per_device = true", "runs_per_device is a whole number of at least 1, not True"),
        ("at_once = 1001", "at_once is a whole number from 1 to 1000, not 1001"),
        ('gpus = "many"', "gpus is 0, 1 or, with a kind, \"a100:1\"; a run trains on one, not 'many'"),
        ('gpus = "a100:2"', "a run trains on one, not 'a100:2'"),
        ("gpus = 2", "a run trains on one, not 2"),
        ("memory = 16", "memory is a text, not 16"),
        ('setup = "module load cuda"', "setup is a list of texts"),
        ('slurm = { array = "0-3" }', r"slurm is a flat table without array\|.*, not {'array': '0-3'}"),
        ('slurm = { job_name = "mine" }', "slurm is a flat table without array.*job-name.*, not {'job_name'"),
        ('slurm = { qos = ["long"] }', "slurm is a flat table"),
        ('time = "soon"', "time is a time like .*, not 'soon'"),
        ('time = "1:2:3:4"', "time is .*, not '1:2:3:4'"),
        ('time = "0"', "time is .*, not '0'"),
    ],
)
def test_what_is_wrong_with_a_profile_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cluster.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_toml(tmp_path / "cluster.toml", Profile)
