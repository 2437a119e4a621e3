"""The worker: it claims jobs from the queue and trains them, one after another, until there is none left for it."""

import logging
import multiprocessing
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.common.errors import LandshiftError, Pruned, Stopped, TrackingError, TrainingError
from benchmark.common.garbage import after_training
from benchmark.common.texts import one_line, trace
from benchmark.experiments.identity import identity_of
from benchmark.experiments.jobs import Bench, ExperimentPlan, Job
from benchmark.experiments.queue import DONE, FAILED, PRUNED, QUEUED, RUNNING, Claim, Entry, LeaseLost
from benchmark.experiments.results import STATUS, ResultsFolder
from benchmark.experiments.run_folder import TRACEBACK, RunFolder, legend_name, savepoints_of
from benchmark.experiments.run_record import run_name
from benchmark.experiments.trial import Trial
from benchmark.tracking import KIND, LiveRun, RunInfo, checked_facts
from benchmark.training.config import recipe_of
from methods.base import MethodError
from methods.sources import blamed

LOOK_EVERY = 1.0  # seconds between two looks at a queue that has nothing to begin
STOP_PATIENCE = 10.0  # seconds for which a process that has to end waits for the database
RENEWALS = 5  # of a lease, within its length
OTHER = "another worker has claimed it, or it was removed"
UNABLE = "it cannot be begun on"  # begins the error of a job that is left to other machines
VISIBLE = 0.01  # share of a training whose end is written at once, for progress bars
logger = logging.getLogger(__name__)
OnProgress = Callable[[str, float], None]
"""Takes the key of a job and the share of its training that is done."""


@dataclass(frozen=True)
class MachinePaths:
    """The places of a job's data and stores on this machine; None for those of the command that requested the job.

    Attributes:
        data: folder or description of the data set.
        stores: folder of the decoded patches.
        accelerator: Lightning Fabric's.
    """

    data: Path | None = None
    stores: Path | None = None
    accelerator: str = ""


def entry_of(bench: Bench, job: Job) -> Entry:
    """Return a job as the queue takes it."""
    plan = bench.plan
    paths = {name: str(path.resolve()) for name in ("data", "stores") if (path := getattr(plan, name))}
    protocol = str(Path(plan.protocol).resolve()) if Path(plan.protocol).is_file() else plan.protocol
    settings = asdict(plan) | paths | {"protocol": protocol}
    del settings["results"]
    trial = asdict(job.trial) if job.trial else None
    payload = {"plan": settings, "label": job.label, "fold": job.fold, "seed": job.seed, "trial": trial}
    facts = bench.facts(replace(job, trial=None))
    return Entry(job.identity, job.parent, payload, checked_facts(facts))


class Worker:
    """One process that trains jobs.

    Args:
        results: results folder with the queue.
        keys: the jobs to train, in this order; None for all of the queue.
        bench: the plan of these jobs, where it is open already.
        place: places of this machine's data.
        name: unique among all workers; made up if "".
        on_progress: callback while a job is trained, in this process.
        on_wait: callback between two looks at a queue that has nothing to begin.
        is_wanted: callback while a job is trained; the worker stops where it returns False.
        publish: show the runs in MLflow while they are trained.
    """

    def __init__(
        self,
        results: ResultsFolder,
        keys: Sequence[str] | None = None,
        bench: Bench | None = None,
        place: MachinePaths = MachinePaths(),
        name: str = "",
        on_progress: OnProgress = lambda key, share: None,
        on_wait: Callable[[], None] = lambda: None,
        is_wanted: Callable[[], bool] = lambda: True,
        *,
        publish: bool = True,
    ) -> None:
        self.name = name or new_name()
        self._results, self._queue, self._keys = results, results.queue, keys
        self._place, self._is_wanted = place, is_wanted
        self._on_progress, self._on_wait = on_progress, on_wait
        self._given, self._publish = bench, publish
        self._benches: dict[str, Bench] = {}
        self._undelivered: list[Claim] = []
        self._left: set[str] = set()  # jobs that cannot be begun on this machine

    def run(self, *, wait: bool = True) -> None:
        """Train until every job has ended.

        Args:
            wait: whether to wait for jobs of other workers, to train what they leave; False: only for those of workers
                with the same name before its last ``/``.
        """
        while True:
            claim = self._queue.claim(self.name, self._keys, self._left)
            if claim is not None:
                self._train(claim)
            elif not self._has_open(wait):
                return self._deliver()
            else:
                self._stop_if_unwanted()
                self._on_wait()
                time.sleep(LOOK_EVERY)

    def _has_open(self, wait: bool) -> bool:
        """Return whether jobs remain that this worker may get later."""
        rows = self._queue.rows(keys=self._keys)
        open_rows = [row for row in rows if row.state in (QUEUED, RUNNING) and row.key not in self._left]
        family = self.name.rpartition("/")[0]
        return bool(open_rows) if wait else any(row.worker.rpartition("/")[0] == family for row in open_rows)

    def _stop_if_unwanted(self) -> None:
        if not self._is_wanted():
            raise Stopped("the command that started this worker has ended")

    def _train(self, claim: Claim) -> None:
        """Train a claimed job to its end; of all exceptions only those that stop the process leave it."""
        from benchmark.experiments.image_record import write_record
        from benchmark.experiments.run_job import run_job  # imports Lightning Fabric

        run: RunFolder | None = None
        try:
            with self._renewed(claim) as report:
                bench, job = self._open(claim)
                run = self._start(bench, job, claim)
                run_job(bench, job, self._results, run, report)
                write_record(run.path, bench, job)
                self._end(claim, run, DONE)
        except LeaseLost:
            self._close(run, OTHER)
        except KeyboardInterrupt as error:  # Ctrl-C, and Stopped
            self._release(claim, run, one_line(error) if str(error) else "stopped by Ctrl-C")
            raise
        except SystemExit:
            self._release(claim, run, "stopped by SIGTERM")
            raise
        except Exception as error:
            self._fail(claim, run, error)
        finally:
            after_training()

    def _open(self, claim: Claim) -> tuple[Bench, Job]:
        """Return the data and the job of a claim.

        Raises:
            TrainingError: the data, the code of the method or landshift's own has changed since it was requested.
        """
        payload = claim.payload
        trial = Trial(**payload["trial"]) if payload["trial"] else None
        job = Job(payload["label"], payload["fold"], payload["seed"], claim.key, parent=claim.parent, trial=trial)
        if self._given is not None and self._key(self._given, job) == claim.key:
            return self._given, job
        text = repr(sorted(payload["plan"].items()))
        if text not in self._benches:
            self._benches = {text: Bench(plan_of(payload["plan"], self._results.folder, self._place))}
        bench = self._benches[text]
        if self._key(bench, job) != claim.key:
            raise TrainingError(
                "the data, the protocol, or the code of the method are not those that the job was requested with; run "
                "the command again"
            )
        return bench, job

    @staticmethod
    def _key(bench: Bench, job: Job) -> str:
        try:
            return identity_of(bench.content(job.label, job.fold, job.seed))
        except (StopIteration, KeyError):  # no such fold
            return ""

    def _start(self, bench: Bench, job: Job, claim: Claim) -> RunFolder:
        results, experiment = self._results, claim.experiment
        facts = checked_facts(bench.facts(replace(job, trial=None)))
        (row,) = results.queue.rows(experiment, [claim.key])
        tags = {KIND: "cell", **row.shown, **results.look(experiment, facts["method"])}
        info = RunInfo(legend_name(facts), facts, tags, bench.dataset_fact(), started=row.started)
        about = results.about(experiment)["facts"]
        live = LiveRun(results.client, experiment, info, about) if self._publish else None
        run = live.id if live else ""
        results.publications.note(claim.key, experiment, run or row.run, -1)
        results.publications.free(claim.key, experiment)  # of a process that was killed while it published
        if run and claim.attempt > 1:
            with suppress(TrackingError):
                results.delete_runs(claim.key, experiment, row.run, but=run)
        return RunFolder(results.folder, claim.key, claim.attempt, info, live)

    def _end(self, claim: Claim, run: RunFolder, state: str, error: str = "") -> None:
        """Keep the run's folder, end the job, and complete its run in MLflow, in this order.

        What a kill between two of them leaves is completed by the next command.

        Raises:
            LeaseLost: another worker has claimed the job, and the folder is its own.
            OSError: the folder cannot be written.
        """
        self._queue.renew(claim, 1.0)
        folder, publications = run.commit(STATUS[state]), self._results.publications
        publications.hold(claim.key, claim.experiment)  # or a command that sees the job's end publishes it, too
        is_whole = False
        try:
            if state == DONE:
                self._queue.finish(claim, run.info.facts, run.tags, run.metrics)
            else:
                self._queue.fail(claim, error, state, run.tags)
            if state != FAILED:  # not before; another worker may have claimed the job and need them
                shutil.rmtree(savepoints_of(self._results.folder, claim.key), ignore_errors=True)
            tags = run.tags | ({"error": error} if error else {})
            is_whole = run.live is not None and run.live.finish(STATUS[state], tags, folder)
            if run.live and is_whole:
                publications.note(claim.key, claim.experiment, run.live.id, claim.attempt)
        finally:
            publications.free(claim.key, claim.experiment)
        if not is_whole:
            self._undelivered.append(claim)

    def _deliver(self) -> None:
        """Publish what MLflow did not take, where no command of this machine does, which has the files."""
        for experiment in {claim.experiment for claim in self._undelivered} if self._keys is None else ():
            self._results.deliver(experiment, [claim.key for claim in self._undelivered])

    def _fail(self, claim: Claim, run: RunFolder | None, error: Exception) -> None:
        pruned = isinstance(error, Pruned)
        is_expected = pruned or isinstance(error, LandshiftError | MethodError)
        message = one_line(error) if is_expected else blamed(error)[:500]
        try:
            if run is None and self._keys is None:  # other machines may have what is missing here
                logger.warning("%s is left to other workers: %s", run_name(claim.facts), message)
                self._left.add(claim.key)
                return self._queue.release(claim, f"{UNABLE} {socket.gethostname()}: {message}")
            if run is None:
                return self._queue.fail(claim, message)
            try:
                (run.path / TRACEBACK).write_text(trace(error), encoding="utf-8")
                self._end(claim, run, PRUNED if pruned else FAILED, message)
            except OSError as full:
                logger.warning("the files of %s cannot be written: %s", run_name(claim.facts), full)
                run.discard()
                self._queue.fail(claim, message)
        except LeaseLost:
            self._close(run, OTHER)

    def _release(self, claim: Claim, run: RunFolder | None, why: str) -> None:
        database, before = self._results.database, self._results.database.patience
        database.patience = STOP_PATIENCE
        try:
            self._queue.release(claim, why)
        except LeaseLost:
            why = OTHER
        except TrackingError as error:
            logger.warning("%s; %s goes back into the queue when its lease is over", error, run_name(claim.facts))
        finally:
            database.patience = before
        self._close(run, why)

    @staticmethod
    def _close(run: RunFolder | None, error: str) -> None:
        """Remove what was written of a run that this worker does not end."""
        if run:
            run.discard()
            if run.live:
                run.live.finish("KILLED", {"error": error})

    @contextmanager
    def _renewed(self, claim: Claim) -> Any:
        """Renew the lease from a thread until the block ends; yield what a training reports its progress to."""
        state: dict[str, Any] = {"share": 0.0, "lost": False}
        ended = threading.Event()

        def renew() -> None:
            written, written_share = time.monotonic(), 0.0
            while not ended.wait(min(LOOK_EVERY, self._queue.lease / RENEWALS)):
                share, due = state["share"], time.monotonic() - written >= self._queue.lease / RENEWALS
                if due or share - written_share >= VISIBLE:
                    try:
                        self._queue.renew(claim, share)
                    except LeaseLost:
                        state["lost"] = True
                        return
                    except TrackingError as error:
                        if not ended.is_set():
                            logger.warning("%s; the lease of %s is not renewed", error, run_name(claim.facts))
                        continue
                    written, written_share = time.monotonic(), share

        def report(share: float) -> None:
            if state["lost"]:
                raise LeaseLost(claim.key)
            self._stop_if_unwanted()
            state["share"] = share
            self._on_progress(claim.key, share)

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield report
        finally:
            ended.set()


def new_name() -> str:
    """Return a worker's name: host, process and a random part, with room for a number behind a ``/``."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}/0"


def plan_of(settings: Mapping[str, Any], results: Path, place: MachinePaths) -> ExperimentPlan:
    """Return a plan from a job's payload.

    Args:
        settings: settings of `entry_of`.
        place: places of this machine's data.
    """
    local = {name: str(value) for name, value in asdict(place).items() if value}
    values = {**settings, **local}
    data = Path(values["data"]) if values["data"] else None
    return ExperimentPlan(
        **{
            **values,
            "data": data,
            "stores": Path(values["stores"]),
            "recipe": recipe_of(values["recipe"]),
            "results": results,
        }
    )


def parent_is_alive() -> bool:
    """Return whether the process that started this one is alive; True where it was not started as a worker."""
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()
