"""Configuration of a tuning: the rule, how many trials, and on which folds."""

from dataclasses import dataclass

from benchmark.common.errors import SettingsError
from benchmark.data.classes import short_slug
from benchmark.evaluation.selection import RULES
from benchmark.experiments.labels import parse_label
from methods.base import Needs

EACH = "each-fold"


@dataclass(frozen=True)
class Tuning:
    """The configuration shared by all methods that are tuned together.

    Attributes:
        rule: rule that chooses, of `benchmark.evaluation.selection.RULES`.
        trials: settings tried of each method, the defaults among them.
        fold: the only one that is tuned on, for all; "" where each fold has a search of its own.
        seed: seed of all trials.
        prune: give up trials early.
    """

    rule: str
    trials: int
    fold: str = ""
    seed: int = 0
    prune: bool = False

    @property
    def key(self) -> str:
        """Its name: what ``landshift run --tuned`` takes."""
        parts = [self.rule, str(self.trials), short_slug(self.fold) if self.fold else EACH]
        return "-".join(parts + [f"seed{self.seed}"] * (self.seed > 0) + ["pruned"] * self.prune)

    @property
    def words(self) -> str:
        """The tuning in the words of a table."""
        where = f"on {self.fold} alone, for all folds" if self.fold else "on each fold by itself"
        looks = "" if RULES[self.rule].legitimate else ", which looks at the target's labels: no legitimate result"
        pruned = ", some given up early" if self.prune else ""
        return f"tuned {where}: {self.trials} trials{pruned}, chosen by {self.rule}{looks}"


def check_rule(tuning: Tuning) -> None:
    """Refuse what cannot choose among runs, or may not see what the pruner sees.

    Raises:
        SettingsError: says why, and what can.
    """
    rule = RULES[tuning.rule]
    able = ", ".join(name for name in RULES if _chooses(name))
    if not _chooses(tuning.rule):
        why = "needs further trainings of every trial" if rule.own_trainings else "says nothing between two runs"
        raise SettingsError(f"{tuning.rule} cannot choose among trials: it {why}; {able} can")
    if tuning.prune and not rule.sees_source_labels:
        raise SettingsError(f"--prune goes by source validation, which {tuning.rule} may not look at")


def why_not(label: str, rule: str) -> str:
    """Return why a method cannot be tuned by a rule; "" if it can."""
    needs = parse_label(label).method.needs
    if not RULES[rule].legitimate:
        return ""
    if needs.is_bound:
        return "it is trained on target labels, of which no legitimate rule knows"
    if needs is Needs.TEST_STREAM:
        return "it has no checkpoints to score: it learns from the test as it is predicted"
    if needs.starts_from_source and RULES[rule].sees_source_labels:
        return f"it has no source data, and {rule} looks at source labels"
    return ""


def _chooses(rule: str) -> bool:
    return RULES[rule].between_runs and not RULES[rule].own_trainings
