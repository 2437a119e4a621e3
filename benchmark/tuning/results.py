"""What studies have found, and how a comparison takes it up."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from optuna.trial import TrialState

from benchmark.errors import SettingsError
from benchmark.grid.jobs import Bench
from benchmark.grid.labels import digest_at_hand
from benchmark.grid.records import pooled, read_records
from benchmark.provenance import Provenance, refuse_mixture
from benchmark.selection import RULES, Record
from benchmark.studies.queue import ENDED
from benchmark.tracking import Fact, RunRecord, Summary, Tracker
from benchmark.tuning.choice import Chosen, best_score, choose
from benchmark.tuning.plan import EACH, Tuning
from benchmark.tuning.session import EXPERIMENT, Search, TuningSession


@dataclass(frozen=True)
class Tuned:
    """What one search has come to.

    Attributes:
        search: which.
        done, pruned, failed, open: how many of its trials are so.
        chosen: what the rule takes; None until all trials have ended, or where it knows a score of none.
        setting: the label of that.
        runs: the records of the settings that were run to the end.
        flat: whether all trials gave the same, so that what is searched changes nothing.
    """

    search: Search
    done: int
    pruned: int
    failed: int
    open: int
    chosen: Chosen | None
    setting: str
    runs: Mapping[int, Sequence[Record]]
    flat: bool


def results(session: TuningSession) -> list[Tuned]:
    """How each search stands."""
    found = []
    finished = session.tracker.finished(session.experiment)
    for search in session.searches:
        states = search.study.states()
        runs = _runs(search, finished)
        chosen = choose(runs, session.tuning.rule) if all(state in ENDED for state in states) else None
        ends = [tuple((record.step, record.target_miou) for record in records) for records in runs.values()]
        found.append(
            Tuned(
                search,
                done=states.count(TrialState.COMPLETE),
                pruned=states.count(TrialState.PRUNED),
                failed=states.count(TrialState.FAIL),
                open=sum(state not in ENDED for state in states),
                chosen=chosen,
                setting=search.jobs[chosen.setting].label if chosen else "",
                runs=runs,
                flat=len(ends) > 1 and len(set(ends)) == 1,
            )
        )
    return found


def _runs(search: Search, finished: Mapping[str, RunRecord]) -> dict[int, list[Record]]:
    """By setting; ``finished`` are runs by identity."""
    jobs = enumerate(search.jobs)
    folders = {index: finished[job.identity].artifacts for index, job in jobs if job.identity in finished}
    found = pooled([read_records(folder) for folder in folders.values()], list(folders.values()))
    return dict(zip(folders, found, strict=True))


def publish(session: TuningSession, tuned: Tuned, folder: Path) -> None:
    """Write the summary run of a finished study, with its trials as a table and a figure.

    Args:
        folder: for the files on their way.
    """
    if tuned.chosen is None:
        return
    search, tuning = tuned.search, session.tuning
    facts: dict[str, Fact] = {
        "method": search.label,
        "fold": search.fold,
        "tuning": tuning.key,
        "setting": tuned.setting,
        "study": search.id,
        "tuned_on": tuning.fold or EACH,
        "rule": tuning.rule,
        "trials": tuning.trials,
        "seed": tuning.seed,
        "prune": tuning.prune,
        "comparison": session.bench.comparison,
        "method_digest": digest_at_hand(search.label, imports=True) or "",
        "protocol": session.bench.protocol.name,
        "fingerprint": session.bench.fingerprint,
        **Provenance.here().facts,
    }
    numbers = asdict(tuned.chosen) | {"done": tuned.done, "pruned": tuned.pruned, "failed": tuned.failed}
    metrics = {f"tuning/{name}": float(value) for name, value in numbers.items()}
    files = [_table(tuned, folder / "trials.csv"), *_figure(search, folder / "trials.png")]
    name = f"{search.label} · {search.fold} · {tuning.key}"
    session.tracker.summarise(session.experiment, Summary(name, facts, metrics, files))


def _table(tuned: Tuned, path: Path) -> Path:
    """One row a setting: what it was, how it ended and what each rule gave it."""
    search, states = tuned.search, tuned.search.study.states()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "setting", "state", *RULES])
        for index, (job, state) in enumerate(zip(search.jobs, states, strict=True)):
            scores = [best_score(tuned.runs.get(index, ()), rule) for rule in RULES]
            shown = ["" if score is None else f"{score:.6g}" for score in scores]
            writer.writerow([index, job.label, state.name.lower(), *shown])
    return path


def _figure(search: Search, path: Path) -> list[Path]:
    """The score against each value that was tried, as Optuna draws it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_slice

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its matplotlib figures experimental
        plot_slice(search.study.optuna)
    figure = pyplot.gcf()
    figure.suptitle(f"{search.label}, {search.fold}")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
    return [path]


def row_name(method: str, tuning: Tuning) -> str:
    """What a table calls a tuned method."""
    return f"{method} (tuned{'' if RULES[tuning.rule].legitimate else ' on target labels'})"


def chosen_settings(
    tracker: Tracker, bench: Bench, key: str, *, mixed: bool = False
) -> tuple[Tuning, dict[str, dict[str, str]]]:
    """What a tuning has found for a comparison: how it was tuned, and of each method the setting of each fold.

    Raises:
        SettingsError: there is none of this name, with this data, recipe and code; or some folds are missing.
        TrackingError: it was tuned with another provenance, and `mixed` is false.
    """
    experiment = tracker.experiment(bench.protocol.label + EXPERIMENT)
    summaries = tracker.summaries(experiment)
    found = [run.facts for run in summaries]
    mine = [facts for facts in found if facts["comparison"] == bench.comparison]
    # Only what was asked for is imported; of others that name modules it is not known whether the code is the same.
    mine = [
        facts
        for facts in mine
        if digest_at_hand(facts["method"], imports=facts["tuning"] == key) in (None, facts["method_digest"])
    ]
    taken = [facts for facts in mine if facts["tuning"] == key]
    if not taken:
        known = ", ".join(sorted({facts["tuning"] for facts in mine})) or "none"
        raise SettingsError(
            f"there is no finished tuning {key!r} for this protocol, data, training and code; there is {known} (a "
            "tuning of other --steps, --checkpoints, --preset and the like is found with the same options)"
        )
    if not mixed:
        refuse_mixture([run for run in summaries if run.facts in taken], Provenance.here())
    first = taken[0]
    fold = "" if first["tuned_on"] == EACH else first["tuned_on"]
    tuning = Tuning(first["rule"], int(first["trials"]), fold, int(first["seed"]), first["prune"] == "True")
    settings: dict[str, dict[str, str]] = {}
    for facts in taken:
        for fold in bench.folds if tuning.fold else [facts["fold"]]:
            settings.setdefault(facts["method"], {})[fold] = facts["setting"]
    for method, of_fold in settings.items():
        if missing := [fold for fold in bench.folds if fold not in of_fold]:
            raise SettingsError(f"{method} is not yet tuned on {', '.join(missing)}; run landshift tune again")
    return tuning, settings
