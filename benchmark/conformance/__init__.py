"""``landshift check``: whether a method keeps the contract, on a world of two places and two times, in seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark.common.errors import LandshiftError
from benchmark.conformance.checks import CHECKS, Failed, NotApplicable
from benchmark.conformance.fixtures import Fixtures, recipe_with
from benchmark.conformance.subject import Subject
from methods.base import Method, MethodError
from methods.sources import blamed

__all__ = ["CHECKS", "Fixtures", "Result", "check_method", "recipe_with"]


@dataclass(frozen=True)
class Result:
    """One line of the table: ``pass``, ``fail`` or ``not applicable``, and why or what was measured."""

    check: str
    status: str
    why: str = ""


def check_method(
    method: type[Method], hyperparameters: Any, fixtures: Fixtures, progress: Callable[[int, int], None] | None = None
) -> list[Result]:
    """Run every check on a method; where the first already ends in an error, the others would only repeat it.

    Args:
        hyperparameters: hyperparameters of the method; None for the defaults.
        progress: called with (checks done, checks in all).
    """
    results = []
    subject = Subject(method, hyperparameters, fixtures)
    for number, (name, check) in enumerate(CHECKS.items()):
        try:
            results.append(Result(name, "pass", check(subject) or ""))
        except NotApplicable as reason:
            results.append(Result(name, "not applicable", str(reason)))
        except Failed as reason:
            results.append(Result(name, "fail", str(reason)))
        except Exception as error:  # of the method: whatever it raises is its fault, and the next check goes on
            results.append(Result(name, "fail", _told(error, method)))
            if not number:
                rest = f"the other {len(CHECKS) - 1} checks"
                return [*results, Result(rest, "not applicable", "a training does not get through; mend that first")]
        if progress:
            progress(number + 1, len(CHECKS))
    return results


def _told(error: Exception, method: type[Method]) -> str:
    """Return an error in one line; errors of landshift's own say by themselves what is wrong."""
    return (str(error) if isinstance(error, (LandshiftError, MethodError)) else blamed(error, method))[:400]
