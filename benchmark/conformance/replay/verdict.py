"""What a replay comes to, in words."""

from collections.abc import Sequence

from benchmark.conformance.replay.circumstances import Row
from benchmark.conformance.replay.differences import Finding

SHOWN = 3  # names of what differs


def same(findings: Sequence[Finding]) -> bool:
    """Whether nothing differs, and there was something to compare."""
    return any(finding.compared for finding in findings) and not any(finding.differing for finding in findings)


def verdict(findings: Sequence[Finding], rows: Sequence[Row]) -> list[str]:
    """Lines: that all is the same to the bit, or what differs, by how much and perhaps why."""
    missing = [f"no {finding.what}" for finding in findings if not finding.compared]
    lacks = [f"the record holds {', '.join(missing)}"] if missing else []
    if same(findings):
        counts = ", ".join(f"{finding.compared} {finding.what}" for finding in findings if finding.compared)
        return [f"the same to the bit: {counts}", *lacks]
    lines = ["NOT the same:"]
    for finding in findings:
        if finding.differing:
            more = len(finding.differing) - SHOWN
            named = ", ".join(finding.differing[:SHOWN]) + (f" and {more} more" if more > 0 else "")
            largest = f"; {finding.largest}" if finding.largest else ""
            lines.append(f"- {finding.what}: {len(finding.differing)} of {finding.compared} differ: {named}{largest}")
        elif finding.compared:
            lines.append(f"- {finding.what}: all {finding.compared} are the same")
    return [*lines, *lacks, _why(rows)]


def _why(rows: Sequence[Row]) -> str:
    device = next(row.here for row in rows if row.what == "device")
    other = [row.what for row in rows if row.same is False]
    unknown = [row.what for row in rows if row.same is None]
    if other:
        return f"may explain it: {', '.join(other)}, which {'is' if len(other) == 1 else 'are'} not the same"
    if device != "cpu":
        return "may explain it: on such a device sums are not always made in the same order"
    if unknown:
        return f"may explain it: {', '.join(unknown)}, of which the run holds no record"
    return "nothing that was recorded explains it: the record was changed, or the method draws by chance"
