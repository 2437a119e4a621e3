"""``landshift check``: whether a method keeps the contract, on a world of two places and two times, in seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark.conformance.checks import CHECKS, Failed, NotApplicable
from benchmark.conformance.ground import Ground
from benchmark.conformance.subject import Subject
from methods.base import Method

__all__ = ["CHECKS", "Ground", "Result", "check_method"]


@dataclass(frozen=True)
class Result:
    """One line of the table: ``pass``, ``fail`` or ``not applicable``, and why or what was measured."""

    check: str
    status: str
    why: str = ""


def check_method(
    method: type[Method], hyperparameters: Any, ground: Ground, progress: Callable[[int, int], None] | None = None
) -> list[Result]:
    """Run every check on a method.

    Args:
        hyperparameters: the method's own; None for the defaults.
        progress: called with (checks done, checks in all).
    """
    results = []
    subject = Subject(method, hyperparameters, ground)
    for number, (name, check) in enumerate(CHECKS.items()):
        try:
            results.append(Result(name, "pass", check(subject) or ""))
        except NotApplicable as reason:
            results.append(Result(name, "not applicable", str(reason)))
        except Failed as reason:
            results.append(Result(name, "fail", str(reason)))
        except Exception as error:  # of the method: whatever it raises is its fault, and the next check goes on
            results.append(Result(name, "fail", f"{type(error).__name__}: {error}".split("\n")[0][:300]))
        if progress:
            progress(number + 1, len(CHECKS))
    return results
