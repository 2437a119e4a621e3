"""A store on a tracking server, with what a results folder keeps beside it."""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.tracking.database import told
from benchmark.tracking.owner import how_it_went, is_gone, is_of_this_boot
from benchmark.tracking.remote import claims
from benchmark.tracking.remote.client import RemoteClient, plain_client
from benchmark.tracking.remote.folder import RemoteFiles, forget
from benchmark.tracking.remote.left import deliver_left
from benchmark.tracking.remote.outbox import FETCHED, Outbox
from benchmark.tracking.remote.pulse import Pulse, Watch
from benchmark.tracking.runs import IDENTITY, KIND, OWNER, Run, RunRecord

PAGE = 1000


class RemoteStore:
    """The primitives of a `benchmark.tracking.stores.Store`.

    Args:
        results: the folder, resolved.
        address: of the server.
    """

    def __init__(self, results: Path, address: str) -> None:
        self._results, self._address = results, address
        self._watch = Watch()

    @cached_property
    def _plain(self) -> Any:
        return plain_client(self._address)

    @cached_property
    def _client(self) -> RemoteClient:
        return RemoteClient(self._plain, self._address)

    def open_client(self) -> Any:
        """What processes that are gone have left here is delivered first."""
        with told(f"the results folder {self._results} cannot be used"):
            self._results.mkdir(parents=True, exist_ok=True)
        with told(f"the tracking server {self._address} cannot be used"):
            self._client.search_experiments(max_results=1)
            deliver_left(self._plain, self._address, self._results)
        return self._client

    def experiments(self) -> dict[str, str]:
        with told("the experiments cannot be read"):
            found = _pages(lambda token: self._client.search_experiments(max_results=PAGE, page_token=token))
        known = {int(one.experiment_id): one.name for one in found}
        return {known[id]: str(id) for id in sorted(known) if id}  # 0 is the server's own, for whoever names none

    def tags(self, experiment: str) -> dict[str, str]:
        with told("the experiment cannot be read"):
            return dict(self._client.get_experiment(experiment).tags)

    def records(self, experiment: str, kind: str, identity: str = "") -> list[RunRecord]:
        """Of a run that has no params yet nothing is known, not even who gets it."""
        with told("the runs cannot be read"):
            return [self._record(run) for run in self._runs(experiment, kind, identity) if run.data.params]

    def logged_values(self) -> int:
        """The server's matter."""
        return 0

    @property
    def size(self) -> int:
        """The server's matter."""
        return 0

    def settle(self, run: Any, name: str) -> None:
        experiment, identity = run.info.experiment_id, run.data.tags[IDENTITY]
        with told(f"the run {name!r} cannot be started"):
            claims.settle(
                self._client,
                run.info.run_id,
                name,
                lambda: self._runs(experiment, "cell", identity),
                self.gone,
                lambda other: self.close(other, how_it_went(other.data.tags.get(OWNER, ""))),
            )

    def opened(self, run: Any, *, alive: bool) -> Run:
        id = run.info.run_id
        outbox = Outbox(self._plain, self._address, id, self._results, run.info.run_name)
        return Run(outbox, id, outbox.files, Pulse(self._plain, id) if alive else None, outbox.stored)

    def gone(self, runs: Sequence[Any]) -> Collection[str]:
        """Known for certain of a process of this boot of this host, elsewhere by its signs of life.

        Two machines may have one name, as containers do: then the process id alone would say nothing.
        """
        owners = {run.info.run_id: run.data.tags.get(OWNER, "") for run in runs}
        here = {id for id, owner in owners.items() if is_of_this_boot(owner)}
        ended = {id for id in here if is_gone(owners[id])}
        elsewhere = [run for run in runs if run.info.run_id not in here]
        return ended | self._watch.silent(elsewhere, self._client.get_run)

    def close(self, run: Any, reason: str) -> None:
        with told(f"run {run.info.run_id} cannot be closed"):
            self._client.set_tag(run.info.run_id, "error", reason)
            self._client.set_terminated(run.info.run_id, "KILLED")

    def discard(self, record: RunRecord) -> None:
        self._client.delete_run(record.id)
        forget(self._results / FETCHED, record.id)

    def _runs(self, experiment: str, kind: str, identity: str = "") -> list[Any]:
        """Oldest first. Deleted ones are read, too, and left out here: pages are counted, and what is deleted while
        they are read would move a run from one to the one before, which has been read already."""
        from mlflow.entities import ViewType

        asked = f"tags.`{KIND}` = '{kind}'" + (f" and tags.`{IDENTITY}` = '{identity}'" if identity else "")
        found = _pages(
            lambda token: self._client.search_runs(
                [experiment], asked, ViewType.ALL, PAGE, ["attributes.start_time ASC"], token
            )
        )
        return [run for run in found if run.info.lifecycle_stage == "active"]

    def _record(self, run: Any) -> RunRecord:
        tags, info = dict(run.data.tags), run.info
        return RunRecord(
            id=info.run_id,
            name=info.run_name,
            identity=tags.get(IDENTITY, ""),
            status=info.status,
            facts=dict(run.data.params),
            metrics=dict(run.data.metrics),
            tags=tags,
            error=tags.get("error"),
            artifacts=RemoteFiles(self._client, info.run_id, self._results / FETCHED),
            started=info.start_time / 1000,
            ended=None if info.end_time is None else info.end_time / 1000,
            step=max((metric.step for metric in run.data._metric_objs), default=0),
        )


def _pages(read: Callable[[Any], Any]) -> list[Any]:
    """Everything that is asked for page by page, each once."""
    found: dict[str, Any] = {}
    token = None
    while True:
        page = read(token)
        for one in page:
            found.setdefault(one.info.run_id if hasattr(one, "info") else one.experiment_id, one)
        token = page.token
        if not token:
            return list(found.values())
