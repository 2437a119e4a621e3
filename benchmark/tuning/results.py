"""Results of searches, and how a comparison takes them up."""

import csv
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import optuna

from benchmark.common.errors import SettingsError
from benchmark.evaluation.selection import RULES, Record
from benchmark.experiments.checkpoint_records import pooled, read_records
from benchmark.experiments.jobs import Bench
from benchmark.experiments.labels import installed_digest
from benchmark.experiments.provenance import Provenance, refuse_mixture
from benchmark.experiments.queue import DONE, FAILED, PRUNED
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.run_record import RunRecord
from benchmark.tracking import Fact, Summary
from benchmark.tuning.choice import Chosen, best_score, choose
from benchmark.tuning.plan import EACH, Tuning
from benchmark.tuning.session import EXPERIMENT, Search, TuningSession

OPEN = "open"  # state of a trial that has not ended


@dataclass(frozen=True)
class Tuned:
    """The state of one search.

    Attributes:
        search: the search.
        states: state of each of its trials: done, pruned, failed or open.
        chosen: what the rule takes; None until all trials have ended, or where it knows a score of none.
        setting: the label of that.
        runs: the records of the settings that were run to the end.
        flat: whether all trials gave the same, so that what is searched changes nothing.
    """

    search: Search
    states: Sequence[str]
    chosen: Chosen | None
    setting: str
    runs: Mapping[int, Sequence[Record]]
    flat: bool

    def count(self, state: str) -> int:
        """Return the number of trials that have ended so."""
        return self.states.count(state)


def results(session: TuningSession) -> list[Tuned]:
    """Return the state of each search."""
    keys = {job.identity for search in session.searches for job in search.jobs}
    ends = {DONE, FAILED, *([PRUNED] if session.tuning.prune else [])}
    states = {row.key: row.state for row in session.results.queue.rows(session.experiment, keys) if row.state in ends}
    finished = session.results.finished(session.experiment, keys)
    return [_tuned(search, session.tuning.rule, states, finished) for search in session.searches]


def _tuned(search: Search, rule: str, states: Mapping[str, str], finished: Mapping[str, RunRecord]) -> Tuned:
    of_trials = [states.get(job.identity, OPEN) for job in search.jobs]
    runs = _runs(search, finished)
    chosen = None if OPEN in of_trials else choose(runs, rule)
    given = [tuple((record.step, record.target_miou) for record in records) for records in runs.values()]
    flat = len(given) > 1 and len(set(given)) == 1
    return Tuned(search, of_trials, chosen, search.jobs[chosen.setting].label if chosen else "", runs, flat)


def _runs(search: Search, finished: Mapping[str, RunRecord]) -> dict[int, list[Record]]:
    """Return the records by setting; ``finished`` are runs by their jobs' keys."""
    jobs = enumerate(search.jobs)
    folders = {index: finished[job.identity].artifacts for index, job in jobs if job.identity in finished}
    records = pooled([read_records(folder) for folder in folders.values()], list(folders.values()))
    return dict(zip(folders, records, strict=True))


def publish(session: TuningSession, tuned_methods: Sequence[Tuned]) -> None:
    """Write a summary run of each finished search, with its trials as a table and a figure.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    about = f"Trials of the hyperparameters, under the protocol {session.bench.protocol.label}."
    with tempfile.TemporaryDirectory(prefix="landshift-") as folder:
        for tuned in tuned_methods:
            if tuned.chosen is not None:
                session.results.summarise(session.experiment, _summary(session, tuned, tuned.chosen, Path(folder)))
                session.results.client.describe(session.experiment, about)


def _summary(session: TuningSession, tuned: Tuned, chosen: Chosen, folder: Path) -> Summary:
    search, tuning = tuned.search, session.tuning
    facts: dict[str, Fact] = {
        "method": search.label,
        "fold": search.fold,
        "tuning": tuning.key,
        "setting": tuned.setting,
        "tuned_on": tuning.fold or EACH,
        "rule": tuning.rule,
        "trials": tuning.trials,
        "seed": tuning.seed,
        "prune": tuning.prune,
        "comparison": session.bench.comparison,
        "method_digest": installed_digest(search.label, imports=True) or "",
        "protocol": session.bench.protocol.name,
        "fingerprint": session.bench.fingerprint,
        **Provenance.here().facts,
    }
    numbers = asdict(chosen) | {state: tuned.count(state) for state in (DONE, PRUNED, FAILED)}
    metrics = {f"tuning/{name}": float(value) for name, value in numbers.items()}
    files = [_table(tuned, folder / "trials.csv"), _figure(tuned, tuning.rule, folder / "trials.png")]
    return Summary(f"{search.label} · {search.fold} · {tuning.key}", facts, metrics, files)


def _table(tuned: Tuned, path: Path) -> Path:
    """Write one row a setting: what it was, how it ended and what each rule gave it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "setting", "state", *RULES])
        for index, (job, state) in enumerate(zip(tuned.search.jobs, tuned.states, strict=True)):
            scores = [best_score(tuned.runs.get(index, ()), rule) for rule in RULES]
            shown = ["" if score is None else f"{score:.6g}" for score in scores]
            writer.writerow([index, job.label, state, *shown])
    return path


def _figure(tuned: Tuned, rule: str, path: Path) -> Path:
    """Draw the score against each value that was tried, as Optuna does."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_slice

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its matplotlib figures experimental
        plot_slice(_study(tuned, rule))
    figure = pyplot.gcf()
    figure.suptitle(f"{tuned.search.label}, {tuned.search.fold}")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
    return path


def _study(tuned: Tuned, rule: str) -> optuna.Study:
    """Return the finished trials of a search as Optuna takes them."""
    optuna.logging.set_verbosity(logging.WARNING)
    study, space = optuna.create_study(direction="maximize"), dict(tuned.search.space)
    for index, records in tuned.runs.items():
        score = best_score(records, rule)
        if score is not None:
            with suppress(ValueError):  # a default may be outside of what is searched
                params = dict(tuned.search.settings[index])
                study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=score))
    return study


@dataclass(frozen=True)
class _Found:
    """A summary run as a run that has a provenance."""

    facts: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str = "FINISHED"


def row_name(method: str, tuning: Tuning) -> str:
    """Return what a table calls a tuned method."""
    return f"{method} (tuned{'' if RULES[tuning.rule].legitimate else ' on target labels'})"


def chosen_settings(
    results: ResultsFolder, bench: Bench, key: str, *, mixed: bool = False
) -> tuple[Tuning, dict[str, dict[str, str]]]:
    """Return what a tuning has found for a comparison: how it was tuned, and of each method the setting of each fold.

    Raises:
        SettingsError: there is none of this name, with this data, recipe and code; or some folds are missing.
        TrackingError: it was tuned with another provenance, and `mixed` is false.
    """
    summaries = results.summaries(bench.protocol.label + EXPERIMENT).values()
    of_comparison = [facts for facts in summaries if facts["comparison"] == bench.comparison]
    # Only what was requested is imported; of others that name modules it is not known whether the code is the same.
    of_comparison = [
        facts
        for facts in of_comparison
        if installed_digest(facts["method"], imports=facts["tuning"] == key) in (None, facts["method_digest"])
    ]
    taken = [facts for facts in of_comparison if facts["tuning"] == key]
    if not taken:
        tunings = ", ".join(sorted({facts["tuning"] for facts in of_comparison})) or "none"
        raise SettingsError(
            f"there is no finished tuning {key!r} for this protocol, data, training and code; there is {tunings} (a "
            "tuning of other --steps, --checkpoints, --preset and the like is found with the same options)"
        )
    if not mixed:
        refuse_mixture([_Found(facts) for facts in taken], Provenance.here())
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
