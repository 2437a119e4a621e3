"""Expected sizes of folds of a protocol whose data are missing: from the counts that its tables publish."""

from collections import Counter
from collections.abc import Mapping

from protocols.base import Protocol
from protocols.columns import read_table

COUNT, FIRST, LAST = "patches", "first_id", "last_id"  # the columns of a table that count


def expected_sizes(protocol: Protocol) -> dict[str, tuple[int, ...]]:
    """Return the patches in each part of each fold, by the shares of the split; none if no table has them.

    The real parts are dealt by whole zones, so that they come out some per cent larger or smaller.
    """
    if protocol.forecast:  # which dates come before which, no table says
        return {}
    rows = next((sizes for table in protocol.tables if (sizes := _counted(read_table(table), protocol.hold_out))), [])
    ranges = Counter((row[FIRST], row[LAST]) for row in rows)
    counts: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        key = tuple(row[column] for column in protocol.hold_out)
        together = int(row[LAST]) - int(row[FIRST]) + 1  # several rows may be published as one range of numbers
        counts[key] += int(row[COUNT] or round(together / ranges[row[FIRST], row[LAST]]))
    large = {key: count for key, count in counts.items() if count >= protocol.split.smallest_target}
    return {"@".join(key): _sizes(protocol, key, count, counts) for key, count in sorted(large.items())}


def _counted(table: tuple[list[str], list[list[str]]], hold_out: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a table that counts patches and knows all that is held out; else none."""
    header, rows = table
    is_counted = hold_out and {*hold_out, COUNT, FIRST, LAST} <= {*header}
    return [dict(zip(header, row, strict=True)) for row in rows] if is_counted else []


def _sizes(
    protocol: Protocol, key: tuple[str, ...], target: int, counts: Mapping[tuple[str, ...], int]
) -> tuple[int, ...]:
    # As when folds are cut: what shares a place or a time with the target is neither source nor target.
    source = sum(n for other, n in counts.items() if not any(a == b for a, b in zip(key, other, strict=True)))
    validation = round(source * protocol.split.validation_share)
    if protocol.transductive:
        return source - validation, validation, target, target
    adapt = round(target * protocol.split.adapt_share)
    return source - validation, validation, adapt, target - adapt
