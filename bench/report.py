"""The report of a benchmark run: tables, a results file, and the comparison with the baseline.

Machine-independent figures are compared, and a difference fails the run. Times are shown as ratios within the run, and
never fail it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest
from baseline import BaselineError
from ledger import BASELINE, Ledger, ratio
from measures import Reference
from pytest_benchmark.fixture import BenchmarkFixture
from results import Results

_PACKAGES = ("session-dal", "psycopg", "SQLAlchemy")
"""Packages whose versions are shown with the figures."""

_RESULTS = ".benchmarks/last.json"

_LEDGER = pytest.StashKey[Ledger]()


@pytest.fixture(scope="session")
def ledger(request, server) -> Ledger:
    ledger = request.config.stash[_LEDGER]
    ledger.server = str(server)
    return ledger


class Timed:
    """pytest-benchmark's fixture, which adds its times to the report."""

    def __init__(self, benchmark: BenchmarkFixture, ledger: Ledger) -> None:
        self.benchmark = benchmark
        self.ledger = ledger

    def compare(self, title: str, row: str, column: str, operation: Callable[[], object], other: Reference) -> None:
        """Time an operation in turns with a reference, and add the ratio to a table."""
        self.benchmark.group = f"{title}: {column}"
        self.benchmark.pedantic(operation, setup=other, rounds=other.rounds)
        if self.benchmark.stats is not None:  # Not with --benchmark-disable.
            self.ledger.table(title).add(row, column, ratio(self.benchmark.stats["min"], other.least))


@pytest.fixture
def timed(benchmark, ledger) -> Timed:
    return Timed(benchmark, ledger)


@pytest.fixture(scope="session")
def large(request) -> bool:
    """Return True if `--large` was given."""
    return request.config.option.large


@pytest.fixture
def durable(server):
    """Enable fsync, which the servers of the tests disable."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        before = connection.execute("SHOW fsync").fetchone()
        if before == ("off",):
            connection.execute("ALTER SYSTEM SET fsync = on")
            connection.execute("SELECT pg_reload_conf()")
        yield
        if before == ("off",):
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")


def pytest_addoption(parser):
    group = parser.getgroup("session-dal's benchmarks")
    group.addoption(
        "--large",
        action="store_true",
        help="the full sizes: 100,000 messages, a million sessions, a million messages as a file",
    )
    group.addoption("--results", metavar="FILE", help=f"where bench/show.py finds the run; {_RESULTS} otherwise")
    group.addoption("--update-baseline", action="store_true", help="replace the baseline by this run; needs --reason")
    group.addoption("--reason", metavar="WHY", help="the reason of a change of the baseline, recorded in the file")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.option.update_baseline and not (config.option.reason or "").strip():
        raise pytest.UsageError('--update-baseline needs a --reason "why"')
    config.stash[_LEDGER] = Ledger()
    config.stash[_LEDGER].whole = all(Path(arg).resolve() == BASELINE.parent for arg in config.args)
    # The same for every benchmark. --benchmark-verbose shows absolute times.
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
    agrees = settle(ledger, option, passed=passed)
    if passed and not agrees:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if ledger.tables:
        path = Path(option.results or session.config.rootpath / _RESULTS)
        results(ledger, large=option.large, differs=() if agrees else tuple(ledger.verdict)).save(path)


def settle(ledger, option, *, passed):
    """Compare the run with the baseline, or update that; return False if it differs."""
    if option.update_baseline and not passed:
        ledger.verdict = ["the baseline was not changed: the run has failed"]
        return False
    try:
        return ledger.settle(update=option.update_baseline, reason=option.reason)
    except BaselineError as error:
        ledger.verdict = [str(error)]
        return False


def results(ledger, *, large, differs):
    """Return the results of the run."""
    return Results(
        server=ledger.server,
        versions={"Python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        day=datetime.now(UTC).date().isoformat(),
        large=large,
        whole=ledger.whole,
        differs=differs,
        tables=tuple(table.result(title) for title, table in ledger.tables.items()),
    )


def pytest_terminal_summary(terminalreporter, config):
    ledger = config.stash[_LEDGER]
    for title, table in ledger.tables.items():
        terminalreporter.section(title)
        for line in table.lines():
            terminalreporter.write_line(line)
    if ledger.gated:
        terminalreporter.section(f"the baseline, {BASELINE.name}")
        for line in ledger.verdict or [f"{len(ledger.gated)} figures, no differences"]:
            terminalreporter.write_line(line)
        terminalreporter.write_line("as a page: uv run bench/show.py --out bench.html")
