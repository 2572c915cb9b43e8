"""The header parser is strict: anything unknown is an error with its file and line."""

import re
from dataclasses import fields, replace

import pytest

from dal.gate.header.grammar import LINES, MEASURED, promise_of
from dal.gate.header.parse import PromiseError, parse
from dal.gate.header.promises import SHARDS, Advisory, Growth, Promises, RemoteCommands, Rows
from dal.gate.measure.reports import descriptions
from dal.gate.measure.subjects import load
from dal.sql import DISTRIBUTED, QUERIES

SECOND_FORMS = sorted((DISTRIBUTED / "queries").rglob("*.sql"))

VALID = """-- name: one(a)
-- Read.
-- Promises: 2 round trips; HOT; buffers O(log n) in the list's tasks;
--   WAL O(1) in the list's tasks
-- Held snapshot: buffers O(n) in the appends since, at most n/50
-- Locks: RowExclusive on sessions, messages; AccessShare on tasks; 1 row of sessions
-- Never: Seq Scan; Sort on messages
SELECT :a::int;
"""


def write_file(tmp_path, text):
    path = tmp_path / "one.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_valid_header_is_parsed(tmp_path):
    promises = parse(write_file(tmp_path, VALID), "one")
    assert (promises.round_trips, promises.hot, promises.line) == (2, True, 3)
    assert [str(bound) for bound in promises.bounds] == [
        "buffers O(log n) in the list's tasks",
        "WAL O(1) in the list's tasks",
    ]
    assert [str(bound) for bound in promises.held] == ["buffers O(n) in the appends since, at most n/50"]
    assert promises.bounds[0].growth is Growth.LOGARITHMIC
    assert promises.held[0].divisor == 50
    assert promises.locks == {"sessions": "RowExclusive", "messages": "RowExclusive", "tasks": "AccessShare"}
    assert promises.rows == (Rows(1, "sessions", None),)
    assert [str(never) for never in promises.never] == ["Seq Scan", "Sort on messages"]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("2 round trips", "few round trips", 3, "'few round trips' is not understood; expected `<number> round trip"),
        ("2 round trips; ", "", 3, "needs exactly one `<number> round trip"),
        ("2 round trips", "2 round trips; 1 round trip", 3, "needs exactly one `<number> round trip"),
        (
            "buffers O(log n)",
            "pages O(log n)",
            3,
            "unknown metric 'pages'; known: buffers, WAL, ",
        ),
        ("O(log n)", "O(sqrt n)", 3, r"unknown growth 'sqrt n'; known: 1, log n, n, n log n, n\^2"),
        ("WAL O(1) in", "WAL O(1) of", 3, "is not understood; expected .*; metric: buffers, .*; growth: 1, .*; unit: "),
        ("tasks;", "tasks, at most 30 pages;", 3, "unknown unit 'pages'; known: buffer, buffers, WAL bytes"),
        ("tasks;", "tasks, at most 30 WAL bytes;", 3, "growth is in buffers, but the cap is in WAL bytes"),
        ("at most n/50", "at most 50", 5, "is not understood"),
        ("HOT", "hot", 3, "'hot' is not understood"),
        ("HOT", "HOT; HOT", 3, "duplicate promise 'HOT'"),
        ("RowExclusive", "RowExclusiv", 6, "unknown mode 'RowExclusiv'; known: AccessShare, RowShare, "),
        ("AccessShare on tasks", "AccessShare on sessions", 6, "two locks on sessions"),
        ("1 row of", "a row of", 6, "is not understood"),
        ("1 row of sessions", "1 row of sessions for each of the turns", 6, "no growth in the turns is promised"),
        ("Seq Scan;", "seq scan;", 7, "unknown node 'seq scan'; known: .*Seq Scan, "),
        ("Seq Scan; Sort on messages", "", 7, "`Never:` is empty; expected `none`, `<node>"),
        (
            "-- Never: Seq Scan; Sort on messages\n",
            "",
            1,
            "missing required header line `-- Never:`; accepted: `no",
        ),
        ("-- Never", "-- Locks: none\n-- Never", 7, "duplicate line `Locks:`"),
        (
            "-- Held snapshot",
            "-- Held Snapshots",
            5,
            "`Held Snapshots:` is not a header line; did you mean `-- Held snapshot:`",
        ),
        ("--   WAL", "-- WAL", 4, "must be indented by three spaces"),
        ("-- name: one", "-- name: two", 1, "the file has no such query"),
    ],
)
def test_an_error_names_its_line(tmp_path, old, new, line, message):
    assert old in VALID
    path = write_file(tmp_path, VALID.replace(old, new, 1))
    with pytest.raises(PromiseError, match=message) as error:
        parse(path, "one")
    assert any(re.match(rf"{path}:{line}: query one: .*{message}", str(one)) for one in error.value.problems)


def test_all_errors_are_reported_together(tmp_path):
    text = VALID.replace("-- Locks: R", "-- R").replace("2 round trips", "some").replace("-- Never: Seq Scan", "-- ")
    path = write_file(tmp_path, text + "\n-- name: two(a)\nSELECT :a::int;\n")
    with pytest.raises(PromiseError) as error:
        load(tmp_path)
    found = [
        (problem.line, problem.query, re.search(r"`-- \w+:`|'some'|$", problem.reason)[0])
        for problem in error.value.problems
    ]
    assert found == [
        (1, "one", "`-- Locks:`"),
        (1, "one", "`-- Never:`"),
        (3, "one", "'some'"),
        (3, "one", ""),
        (10, "two", "`-- Promises:`"),
        (10, "two", "`-- Locks:`"),
        (10, "two", "`-- Never:`"),
    ]
    assert str(error.value).count(f"{path}:") == len(found)


def test_caps_are_parsed(tmp_path):
    text = VALID.replace("HOT", "at most 1,200 buffers; at most 6 WAL records").replace(
        "WAL O(1) in the list's tasks", "WAL O(n) in the list's tasks, at most 300 WAL bytes each"
    )
    promises = parse(write_file(tmp_path, text), "one")
    assert [str(cap) for cap in promises.caps] == ["at most 1,200 buffers", "at most 6 WAL records"]
    assert str(promises.bounds[1]) == "WAL O(n) in the list's tasks, at most 300 WAL bytes each"
    assert promises.bounds[1].cap.each
    promises = parse(write_file(tmp_path, VALID.replace("the list's tasks;", "the list's tasks, at most n/7;")), "one")
    assert str(promises.bounds[0]) == "buffers O(log n) in the list's tasks, at most n/7"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1", [RemoteCommands(1)]),
        ("at most 12", [RemoteCommands(12)]),
        ("O(shards)", [RemoteCommands(None, SHARDS)]),
        (
            "O(shards), at most 3 each; 4; 1,000 for each of the given sessions",
            [RemoteCommands(3, SHARDS), RemoteCommands(4), RemoteCommands(1000, "the given sessions")],
        ),
    ],
)
def test_remote_commands_are_parsed(tmp_path, text, parts):
    promises = parse(write_file(tmp_path, VALID.replace("-- Locks", f"-- Remote commands: {text}\n-- Locks")), "one")
    assert (list(promises.remote), promises.remote_line) == (parts, 6)
    assert f"remote commands: {text.removeprefix('at most ')}" in descriptions(promises)


@pytest.mark.parametrize("text", ["one", "O(n)", "O(shards) for each status", "O(shards), 3", "-1", "3 per session"])
def test_an_unknown_number_of_remote_commands_is_refused(tmp_path, text):
    path = write_file(tmp_path, VALID.replace("-- Locks", f"-- Remote commands: {text}\n-- Locks"))
    with pytest.raises(PromiseError, match=r":6: .* is not understood; expected `\[at most \]<number>`, `O\(shards\)`"):
        parse(path, "one")


@pytest.mark.parametrize("path", sorted(QUERIES.rglob("*.sql")), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_each_of_our_queries_has_promises(path):
    promises = parse(path, path.stem)
    assert promises.round_trips == 1
    assert promises.bounds


@pytest.mark.parametrize("path", SECOND_FORMS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_each_second_form_of_our_queries_promises_remote_commands(path):
    promises = parse(path, path.stem)
    assert promises.round_trips == 1
    assert promises.remote


@pytest.mark.parametrize("word", [word for word, line in LINES.items() if line.forms])
def test_the_example_of_a_header_line_is_valid(word):
    example = LINES[word].example
    for part in example.split(";") if word in MEASURED else [example]:
        promise_of(word, 1, part.strip())


LINE_NUMBERS = {"line", "locks_line", "remote_line", "path"}

NOTHING = {"round_trips": 0, "advisory": Advisory(0), "waits": None, "locks": {}}
"""Fields of Promises without a promise; the others are False or empty."""


@pytest.mark.parametrize("name", sorted({one.name for one in fields(Promises)} - LINE_NUMBERS))
def test_each_promise_is_described(tmp_path, name):
    """Otherwise `dal review --base` would not show that one was removed."""
    text = VALID.replace("-- Locks", "-- Remote commands: 1\n-- Locks")
    text = text.replace("HOT", "HOT; at most 30 buffers; may match nothing")
    text = text.replace("1 row of sessions", "1 row of sessions; 1 advisory lock; waits for nobody")
    full = parse(write_file(tmp_path, text), "one")
    nothing = NOTHING[name] if name in NOTHING else type(getattr(full, name))()
    assert descriptions(replace(full, **{name: nothing})) != descriptions(full)
