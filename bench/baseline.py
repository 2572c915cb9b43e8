"""The baseline: the deterministic figures of the benchmarks, one a line, and why they changed.

pytest-benchmark's own comparison reads times alone, and overlooks what is missing on either side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_INTRODUCTION = """\
# The figures of `uv run pytest bench` that are the same on every machine and every PostgreSQL: a run fails where it
# finds others. To change them: uv run pytest bench --update-baseline --reason "why". The reasons, newest first:
"""

_REASON = "# - "


class BaselineError(Exception):
    """The baseline cannot be read, or may not be changed so."""


@dataclass(frozen=True)
class Baseline:
    """Figures by name, and the reasons for which they were changed, the newest first."""

    figures: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        reasons = "".join(f"{_REASON}{reason}\n" for reason in self.reasons)
        figures = "".join(f"{name} = {value}\n" for name, value in sorted(self.figures.items()))
        return f"{_INTRODUCTION}{reasons}\n{figures}"


def parse(text: str) -> Baseline:
    """Read a baseline; BaselineError where a line is not understood or a name stands twice."""
    figures: dict[str, str] = {}
    reasons = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(_REASON):
            reasons.append(line.removeprefix(_REASON))
        elif line and not line.startswith("#"):
            name, equals, value = line.partition(" = ")
            if not equals or name in figures:
                raise BaselineError(f"line {number} of the baseline is not NAME = VALUE, or its name stands twice")
            figures[name] = value
    return Baseline(figures, tuple(reasons))


def compare(baseline: Baseline, measured: Mapping[str, str], *, whole: bool) -> list[str]:
    """Tell what differs, in words. What was not measured counts only after a `whole` run."""
    told = []
    for name in sorted(baseline.figures.keys() | measured.keys()):
        if name not in baseline.figures:
            told.append(f"orphaned: {name} = {measured[name]} is not in the baseline")
        elif name not in measured:
            if whole:
                told.append(f"missing: {name} = {baseline.figures[name]} is in the baseline and was not measured")
        elif measured[name] != baseline.figures[name]:
            told.append(f"changed: {name} was {baseline.figures[name]} and is {measured[name]}")
    return told


def updated(baseline: Baseline, measured: Mapping[str, str], reason: str | None, *, whole: bool) -> Baseline:
    """Take over what was measured, for a reason; a run that was not `whole` leaves the rest as it is."""
    if not compare(baseline, measured, whole=whole):
        return baseline
    if not reason or not reason.strip():
        raise BaselineError('the baseline changes only for a reason: --update-baseline --reason "why"')
    kept = {} if whole else baseline.figures
    return Baseline({**kept, **measured}, (" ".join(reason.split()), *baseline.reasons))
