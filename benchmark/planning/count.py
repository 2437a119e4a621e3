"""How many trainings a plan comes to: each job once, and finished ones not at all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.common.errors import SettingsError
from benchmark.experiments.jobs import Job
from benchmark.experiments.labels import control_label
from benchmark.experiments.listing import wanted_labels
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Work, sort_out
from benchmark.planning.outline import Outline
from benchmark.training.config import TrainingConfig
from benchmark.tuning.plan import Tuning, why_not
from benchmark.tuning.space import label_of, settings


@dataclass(frozen=True)
class Stage:
    """The jobs of a comparison, or the trials before it.

    Attributes:
        title: what it is.
        asked: every place that was asked for, in the order of the run; several may be one job.
        work: the jobs, each once.
        rows: of each job's identity the row that it stands in.
    """

    title: str
    asked: Sequence[Job]
    work: Work
    rows: dict[str, str]

    @property
    def starting(self) -> int:
        """Jobs that start from a source-only run, which without reuse would be trained for each of them."""
        return sum(bool(job.parent) for job in self.asked if not job.skip)

    @property
    def naive(self) -> int:
        """Trainings if every place trained its own, and its own source model first, and no run were finished."""
        return sum(not job.skip for job in self.asked) + self.starting

    def counts(self) -> dict[str, Counter[str]]:
        """By row: places asked for, of these shared with another place, and jobs by state."""
        found: dict[str, Counter[str]] = {}
        seen: set[str] = set()
        states = {
            job.identity: state
            for state, jobs in (
                ("new", self.work.left),
                ("done", self.work.done),
                ("running", self.work.running),
                ("skipped", self.work.skipped),
            )
            for job in jobs
        }
        for job in self.asked:
            row = found.setdefault(self.rows.get(job.identity, job.label), Counter())
            row["asked"] += 1
            row["shared" if job.identity in seen else states[job.identity]] += 1
            seen.add(job.identity)
        return found


def comparison_stage(
    outline: Outline,
    labels: Sequence[str],
    seeds: Sequence[int],
    folds: Sequence[str],
    recipe: TrainingConfig,
    results: ResultsFolder | None,
) -> Stage:
    """What ``landshift run`` would do."""
    asked = outline.jobs(wanted_labels(labels, recipe), folds, seeds)
    return Stage("the comparison", asked, sort_out(asked, results), {})


def tuned_stage(
    outline: Outline,
    labels: Sequence[str],
    seeds: Sequence[int],
    folds: Sequence[str],
    recipe: TrainingConfig,
    results: ResultsFolder | None,
    tuning: Tuning,
    trials: Stage,
) -> Stage:
    """What ``landshift run --tuned`` would do after the trials: methods with the setting that was chosen, which is
    taken to be no default.

    A second trial stands for the chosen setting, of which nothing is known yet. What cannot be tuned is run as it is.
    """
    tuned = tunable(labels, recipe, tuning)
    chosen = {
        label: _trial_labels(label, recipe, max(tuning.trials, 2))[1] if label in tuned else label for label in labels
    }
    asked = outline.jobs(wanted_labels(chosen.values(), recipe), folds, seeds)
    names = {behind: f"{label} (tuned)" for label, behind in chosen.items() if label in tuned}
    rows = {job.identity: names.get(job.label, job.label) for job in asked}
    work = sort_out(asked, results).with_done({job.identity for job in trials.work.left})
    return Stage("the tuned comparison", asked, work, rows)


def tuning_stage(
    outline: Outline,
    labels: Sequence[str],
    folds: Sequence[str],
    recipe: TrainingConfig,
    results: ResultsFolder | None,
    tuning: Tuning,
) -> Stage:
    """What ``landshift tune`` would do: every trial of every method on every one of these folds."""
    asked, parents = list[Job](), list[Job]()
    rows: dict[str, str] = {}
    for label in tunable(labels, recipe, tuning):
        jobs = outline.jobs(_trial_labels(label, recipe, tuning.trials), folds, [tuning.seed])
        if any(job.parent for job in jobs) and not parents:
            parents = outline.jobs([control_label()], folds, [tuning.seed])
        asked += jobs
        rows |= {job.identity: label for job in jobs}
    asked = [*parents, *asked]
    words = f"{tuning.trials} trials of each method on {len(folds)} {'fold' if len(folds) == 1 else 'folds'}"
    return Stage(words, asked, sort_out(asked, results), rows)


def tunable(labels: Sequence[str], recipe: TrainingConfig, tuning: Tuning) -> list[str]:
    """The methods that the rule can choose for and that have something to tune."""
    untuned = {label for row in untunable(labels, recipe, tuning).values() for label in row}
    return [label for label in wanted_labels(labels, recipe) if label not in untuned]


def untunable(labels: Sequence[str], recipe: TrainingConfig, tuning: Tuning) -> dict[str, list[str]]:
    """The other methods, by why."""
    found: dict[str, list[str]] = {}
    for label in wanted_labels(labels, recipe):
        why = why_not(label, tuning.rule) or ("" if _has_space(label, recipe) else "it has nothing to tune")
        if why:
            found.setdefault(why, []).append(label)
    return found


def _has_space(label: str, recipe: TrainingConfig) -> bool:
    try:
        return bool(settings(label, recipe, 1))
    except SettingsError:
        return False


def _trial_labels(label: str, recipe: TrainingConfig, trials: int) -> list[str]:
    return [label_of(label, params, recipe) for params in settings(label, recipe, trials)]


def skipped_reasons(stage: Stage) -> dict[str, list[str]]:
    """The methods that cannot be run, by why."""
    found: dict[str, dict[str, None]] = {}
    for job in stage.work.skipped:
        found.setdefault(job.skip, {})[job.label] = None
    return {reason: list(labels) for reason, labels in found.items()}


def taken_over(stages: Sequence[Stage]) -> list[Job]:
    """Jobs of one stage that an earlier one trains."""
    found, seen = list[Job](), set[str]()
    for stage in stages:
        found += [job for job in stage.work.done if job.identity in seen]
        seen |= {job.identity for job in stage.work.left}
    return found
