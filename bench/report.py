"""The report: what the benchmarks have measured, in tables, and the comparison with the baseline.

Figures that do not depend on the machine are compared, and fail the run. Times are shown as ratios within the
run, and never do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from baseline import BaselineError, compare, parse, updated
from measures import Beside, Figures, classes, gated, number, values
from pytest_benchmark.fixture import BenchmarkFixture

BASELINE = Path(__file__).with_name("baseline.txt")

_LEDGER = pytest.StashKey["Ledger"]()


class Table:
    """A table of the report."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, str | float]] = {}
        self.notes: list[str] = []

    def tell(self, row: str, column: str, value: object) -> None:
        """Show a value."""
        self.rows.setdefault(row, {})[column] = str(value)

    def time(self, row: str, column: str, seconds: float) -> None:
        """Show a time as a ratio to the first row's."""
        self.rows.setdefault(row, {})[column] = seconds

    def lines(self) -> list[str]:
        """The table as text, its columns as wide as they must be."""
        columns = list(dict.fromkeys(column for cells in self.rows.values() for column in cells))
        grid = [["", *columns]]
        grid += [[row, *(self._shown(row, column) for column in columns)] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines = ["  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))).rstrip() for row in grid]
        return lines + self.notes

    def _shown(self, row: str, column: str) -> str:
        value = self.rows[row].get(column, "")
        if isinstance(value, str):
            return value
        base = next(iter(self.rows.values())).get(column)
        return ratio(value, base) if isinstance(base, float) else "?"


def ratio(seconds: float, to: float) -> str:
    """A time as a multiple of another."""
    return f"{seconds / to:.2f} x"


class Ledger:
    """What a run has measured."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.gated: dict[str, str] = {}
        self.whole = True
        self.verdict: list[str] = []

    def table(self, title: str) -> Table:
        """The table of that title, made when it is first asked for."""
        return self.tables.setdefault(title, Table())

    def gate(self, name: str, value: object) -> None:
        """Have a figure compared with the baseline."""
        if name in self.gated:
            raise ValueError(f"{name} is measured twice")
        self.gated[name] = str(value)

    def costs(self, title: str, subject: str, row: str, at: Mapping[int, Figures]) -> None:
        """Show what an operation takes at some sizes, and have its round trips and classes compared."""
        table, grown = self.table(title), classes(at)
        (trips,) = {(one.round_trips, one.statements) for one in at.values()}  # Whatever the size.
        for name, count in zip(("round trips", "statements"), trips, strict=True):
            table.tell(row, name, count)
            self.gate(f"{subject}, {row}: {name}", count)
        for metric, growth in grown.items():
            if any(number(one, metric) for one in at.values()):
                table.tell(row, f"{metric} at {min(at):,} …", values(at, metric))
                table.tell(row, metric, growth)
            self.gate(f"{subject}, {row}: {metric}", gated(metric, growth))

    def settle(self, *, update: bool, reason: str | None) -> bool:
        """Compare with the baseline, or update it; False if the run has failed."""
        known = parse(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else parse("")
        if update:
            BASELINE.write_text(str(updated(known, self.gated, reason, whole=self.whole)), encoding="utf-8")
            self.verdict = ["the baseline is as this run measured"]
            return True
        self.verdict = compare(known, self.gated, whole=self.whole)
        return not self.verdict


@pytest.fixture(scope="session")
def ledger(request) -> Ledger:
    return request.config.stash[_LEDGER]


class Timed:
    """pytest-benchmark's fixture, with a place in the report."""

    def __init__(self, benchmark: BenchmarkFixture, ledger: Ledger) -> None:
        self.benchmark = benchmark
        self.ledger = ledger

    def beside(self, title: str, row: str, column: str, operation: Callable[[], object], other: Beside) -> None:
        """Time an operation beside another, as often as that is to be run, and show the ratio."""
        self.benchmark.group = f"{title}: {column}"
        self.benchmark.pedantic(operation, setup=other, rounds=other.rounds)
        if self.benchmark.stats is not None:  # Not with --benchmark-disable.
            self.ledger.table(title).tell(row, column, ratio(self.benchmark.stats["min"], other.least))


@pytest.fixture
def timed(benchmark, ledger) -> Timed:
    return Timed(benchmark, ledger)


@pytest.fixture(scope="session")
def large(request) -> bool:
    """Whether the full sizes are wanted."""
    return request.config.option.large


def pytest_addoption(parser):
    group = parser.getgroup("session-dal's benchmarks")
    group.addoption("--large", action="store_true", help="the full sizes: 100,000 messages, a million sessions")
    group.addoption("--update-baseline", action="store_true", help="take over what is measured; give a --reason")
    group.addoption("--reason", metavar="WHY", help="why the baseline changes; it stays in the file")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.option.update_baseline and not (config.option.reason or "").strip():
        raise pytest.UsageError('--update-baseline needs a --reason "why"')
    config.stash[_LEDGER] = Ledger()
    config.stash[_LEDGER].whole = all(Path(arg).resolve() == BASELINE.parent for arg in config.args)
    # The same for every benchmark; its own table of absolute times is there with --benchmark-verbose.
    config.option.benchmark_disable_gc = True
    config.option.benchmark_quiet = True


def pytest_deselected(items):
    if items:
        items[0].config.stash[_LEDGER].whole = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.skipped:
        item.config.stash[_LEDGER].whole = False
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    ledger, option = session.config.stash[_LEDGER], session.config.option
    if option.collectonly or not (ledger.gated or ledger.whole):
        return
    passed = session.exitstatus == pytest.ExitCode.OK
    ledger.whole &= passed
    if option.update_baseline and not passed:
        ledger.verdict = ["the baseline stays as it is: the run has failed"]
        return
    try:
        agrees = ledger.settle(update=option.update_baseline, reason=option.reason)
    except BaselineError as error:
        ledger.verdict, agrees = [str(error)], False
    if passed and not agrees:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    ledger = config.stash[_LEDGER]
    for title, table in ledger.tables.items():
        terminalreporter.section(title)
        for line in table.lines():
            terminalreporter.write_line(line)
    if ledger.gated:
        terminalreporter.section(f"the baseline, {BASELINE.name}")
        for line in ledger.verdict or [f"{len(ledger.gated)} figures, none of which differs"]:
            terminalreporter.write_line(line)
