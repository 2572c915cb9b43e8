"""Canaries: known-bad versions of our queries. The gate must fail each one for the promise that it breaks."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache, partial

import psycopg
import pytest
from canaries import CANARIES
from canaries.harmless import HARMLESS
from gate import fixtures
from ulid import ULID

from dal.conninfo import with_schema
from dal.gate.measure import scratch
from dal.gate.measure.gate import Gate
from dal.gate.measure.judge import Outcome, judge
from dal.gate.measure.neighbours import Neighbours
from dal.gate.measure.snapshot import Patience, held_snapshot
from dal.gate.measure.subjects import Subject, load
from dal.sql import QUERIES, SCHEMA


def quick_sizes(_axis):
    return 16, 64, 256


ALL = CANARIES | HARMLESS
OURS = {subject.name: subject for subject in load(QUERIES)}


@dataclass(frozen=True, slots=True)
class Chatty(Subject):
    """A query that is followed by another statement."""

    after: str = ""

    def run(self, connection, parameters):
        Subject.run(self, connection, parameters)
        connection.execute(self.after.encode())


def hatch(name, folder):
    """Write the changed query file, and load it."""
    canary = ALL[name]
    ours = OURS[canary.query]
    text = ours.path.read_text(encoding="utf-8")
    for old, new in canary.edits:
        assert old in text, "the canary no longer matches the query: update it"
        text = text.replace(old, new, 1)
    path = folder / name / ours.path.relative_to(QUERIES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    (subject,) = load(folder / name)
    if canary.rerun:
        return Chatty(subject.name, subject.text, subject.promises, after=canary.rerun)
    return subject


def narrowed(subject, breaks, axis=""):
    """Return the query with the promises along one axis: that of the broken promise, a given one, or the first."""
    promises = subject.promises
    wanted = [bound for bound in promises.bounds if fnmatch(str(bound), breaks) or bound.axis == axis]
    axes = {bound.axis for bound in wanted or promises.bounds[:1]}
    bounds = [bound for bound in promises.bounds if bound.axis in axes]
    held = [bound for bound in promises.held if breaks == f"held snapshot: {bound}"]
    return replace(subject, promises=replace(promises, bounds=tuple(bounds), held=tuple(held)))


@pytest.fixture(scope="module")
def measure(server):
    """Measure queries, with SQL that changes the schema."""

    def measure(subjects, patch="", fixtures=fixtures, sizes=None, begin=lambda _: None):
        conninfo = with_schema(server.conninfo, f"test_{ULID()}".lower())
        text = SCHEMA.read_text(encoding="utf-8") + patch
        connect = partial(psycopg.connect, conninfo, autocommit=True)
        try:
            return Gate(connect, text, fixtures, sizes=sizes, begin=begin).measure(subjects)
        finally:
            with connect() as connection:
                scratch.drop(connection)
                connection.execute("DROP SCHEMA IF EXISTS canary_audit CASCADE")

    return measure


@pytest.fixture(scope="module")
def verdicts_of(measure, tmp_path_factory):
    """Return the verdicts on a canary. Canaries with the same schema are measured together."""
    folder = tmp_path_factory.mktemp("canaries")

    @cache
    def judged(patch, quick):
        names = [name for name, canary in ALL.items() if (canary.schema, canary.quick) == (patch, quick)]
        subjects = [narrowed(hatch(name, folder), ALL[name].breaks, ALL[name].axis) for name in names]
        measured = measure(subjects, patch, sizes=quick_sizes if quick else None)
        return {name: list(judge(result)) for name, result in zip(names, measured, strict=True)}

    return lambda name: judged(ALL[name].schema, ALL[name].quick)[name]


@pytest.mark.parametrize("name", CANARIES)
def test_the_gate_fails_a_canary(name, verdicts_of):
    canary, verdicts = CANARIES[name], verdicts_of(name)
    broken = [verdict for verdict in verdicts if verdict.outcome is Outcome.BROKEN]
    verdict = next((verdict for verdict in broken if fnmatch(verdict.promised, canary.breaks)), None)
    assert verdict, [f"{v.promised}: {v.outcome}: {v.measured}" for v in verdicts]
    if canary.plan:
        assert re.findall("the (custom|generic) plan", verdict.measured) == [canary.plan]
    assert verdict.path.read_text(encoding="utf-8").splitlines()[verdict.line - 1].startswith("-- ")


@pytest.mark.parametrize("name", HARMLESS)
def test_the_gate_passes_a_harmless_change(name, verdicts_of):
    verdicts = verdicts_of(name)
    assert len(verdicts) >= 3
    assert [verdict for verdict in verdicts if verdict.outcome is Outcome.BROKEN] == []


def test_our_queries_keep_the_promises_that_the_canaries_break(measure):
    breaks = sorted({(canary.query, canary.breaks) for canary in CANARIES.values()})
    measured = measure([narrowed(OURS[query], promise) for query, promise in breaks])
    for (_, promise), result in zip(breaks, measured, strict=True):
        verdicts = list(judge(result))
        # A verdict "no lock …" exists only if there is a lock.
        assert promise.startswith("no ") or any(fnmatch(verdict.promised, promise) for verdict in verdicts)
        assert [verdict for verdict in verdicts if verdict.outcome is Outcome.BROKEN] == []


class HourOldFixtures:
    """Our fixtures, with data that is an hour old when it is measured."""

    parameters = staticmethod(fixtures.parameters)
    largest = staticmethod(fixtures.largest)
    usual = staticmethod(fixtures.usual)

    @staticmethod
    def grow(connection, axis, before, size):
        fixtures.grow(connection, axis, before, size)
        if before < size:
            connection.execute("UPDATE sessions SET updated_at = updated_at - interval '1 hour'")


def test_old_data_is_refreshed(measure):
    (measured,) = measure([narrowed(OURS["messages.append"], "HOT")], fixtures=HourOldFixtures)
    assert [verdict for verdict in judge(measured) if verdict.promised == "HOT" and not verdict.kept] == []


def test_a_neighbours_snapshot_causes_no_false_alarm(server, measure, monkeypatch):
    """It prevents the cleanup of dead rows, until an update no longer fits on its page."""
    monkeypatch.setattr("dal.gate.measure.gate.Patience", partial(Patience, 0))
    writers = [
        narrowed(OURS[name], "HOT") for name in ("messages.append", "sessions.update_metadata") for _ in range(3)
    ]
    with held_snapshot(server.conninfo):
        measured = measure(writers, sizes=quick_sizes)
    assert [verdict for result in measured for verdict in judge(result) if verdict.outcome is Outcome.BROKEN] == []


@pytest.mark.parametrize("again", ["kept", "broken"])
def test_what_seems_broken_is_measured_again(measure, monkeypatch, again):
    runs = []

    def measured(_, subjects):
        runs.append(list(subjects))
        return ["kept", "broken", "kept"] if len(runs) == 1 else [again]

    monkeypatch.setattr(Gate, "_measured", measured)
    monkeypatch.setattr("dal.gate.measure.gate._seems_broken", "broken".__eq__)
    steps, subjects = [], [*OURS.values()][:3]
    assert measure(subjects, begin=steps.append) == ["kept", again, "kept"]
    assert (runs, steps) == ([subjects, subjects[1:2]], ["1 of 3 queries again, beside no other gate"])


def test_a_gate_measures_alone_only_once_the_others_have_finished(server):
    events, (one, other, third) = [], [psycopg.connect(server.conninfo, autocommit=True) for _ in range(3)]

    def alone():
        with Neighbours(other).alone():
            events.append("alone")
            time.sleep(0.3)
            events.append("no longer alone")

    def late():
        with Neighbours(third).beside():
            events.append("the third is beside")

    with one, other, third, ThreadPoolExecutor() as pool:
        with Neighbours(one).beside():
            waits = [pool.submit(alone)]
            time.sleep(0.3)
            waits.append(pool.submit(late))
            time.sleep(0.3)
            events.append("the first has finished")
        for wait in waits:
            wait.result(10)
    assert events == ["the first has finished", "alone", "no longer alone", "the third is beside"]


def test_each_canary_changes_its_query_or_the_schema():
    for name, canary in ALL.items():
        assert canary.edits or canary.schema or canary.rerun, name
        assert all(old != new for old, new in canary.edits), name
    assert len(CANARIES) >= 15
