"""The baseline: the deterministic figures of the benchmarks, one per line, and the reasons of changes.

pytest-benchmark's own comparison covers only times, and ignores figures that are missing on either side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_INTRODUCTION = """\
# Figures of `uv run pytest bench` that are the same on every machine and version of PostgreSQL. A run fails if they
# differ. To change them: uv run pytest bench --update-baseline --reason "why". Reasons, newest first:
"""

_REASON = "# - "


class BaselineError(Exception):
    """The baseline cannot be read, or the change is not allowed."""


@dataclass(frozen=True)
class Baseline:
    """Figures by name, and the reasons of changes, newest first."""

    figures: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        reasons = "".join(f"{_REASON}{reason}\n" for reason in self.reasons)
        figures = "".join(f"{name} = {value}\n" for name, value in sorted(self.figures.items()))
        return f"{_INTRODUCTION}{reasons}\n{figures}"


def parse(text: str) -> Baseline:
    """Parse a baseline; raise BaselineError for an invalid line or a duplicate name."""
    figures: dict[str, str] = {}
    reasons = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(_REASON):
            reasons.append(line.removeprefix(_REASON))
        elif line and not line.startswith("#"):
            name, equals, value = line.partition(" = ")
            if not equals or name in figures:
                raise BaselineError(f"line {number} of the baseline is not NAME = VALUE, or its name is a duplicate")
            figures[name] = value
    return Baseline(figures, tuple(reasons))


def compare(baseline: Baseline, measured: Mapping[str, str], *, whole: bool) -> list[str]:
    """Return the differences, in words. Missing figures count only after a `whole` run."""
    differences = []
    for name in sorted(baseline.figures.keys() | measured.keys()):
        if name not in baseline.figures:
            differences.append(f"orphaned: {name} = {measured[name]} is not in the baseline")
        elif name not in measured:
            if whole:
                differences.append(
                    f"missing: {name} = {baseline.figures[name]} is in the baseline and was not measured"
                )
        elif measured[name] != baseline.figures[name]:
            differences.append(f"changed: {name} was {baseline.figures[name]} and is {measured[name]}")
    return differences


def updated(baseline: Baseline, measured: Mapping[str, str], reason: str | None, *, whole: bool) -> Baseline:
    """Return the baseline with the measured figures; after a partial run, with the other figures too."""
    if not compare(baseline, measured, whole=whole):
        return baseline
    if not reason or not reason.strip():
        raise BaselineError('a change of the baseline needs a reason: --update-baseline --reason "why"')
    others = {} if whole else baseline.figures
    return Baseline({**others, **measured}, (" ".join(reason.split()), *baseline.reasons))
