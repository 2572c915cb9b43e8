"""`dal sessions`, `dal show`, `dal delete-idle` and `dal erase-user`, on a real server."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from time import monotonic

import program
import pytest
from program import assert_fails

import dal
from dal.cli import erase, idle, show
from dal.gate.cli import signals
from dal.observe import Observer

ESCAPE = "\x1b[31m\x1b]0;title\x07\x9b2J\u202e"


@pytest.fixture
def run(server, schema, tables, monkeypatch):
    """Run a command on the test's tables, in this process."""
    monkeypatch.setenv("DAL_DSN", server.conninfo)
    return lambda *arguments: program.call(*arguments, "--schema", schema)


@pytest.fixture
def ages(connection):
    """Set the time of a session's last activity to some days ago."""

    def age(session_id, days):
        connection.execute(
            "UPDATE sessions SET updated_at = now() - %(age)s, listed_at = now() - %(age)s WHERE session_id = %(id)s",
            {"age": timedelta(days=days), "id": session_id},
        )

    return age


@pytest.fixture
def three(sync_store):
    """Store three sessions."""
    sync_store.session("first", source="web", user_id="u1").append("user", "hello")
    sync_store.session("second", source="telegram", user_id="u2").append("user", "hello")
    sync_store.session("third", source="telegram", user_id="u1", metadata={"title": "trees"}).append("user", "hello")
    sync_store.session("second").archive()
    return sync_store


@pytest.fixture
def old(three, ages):
    """Make two of the three sessions 100 days old."""
    for one in ("first", "second"):
        ages(one, 100)
    return three


def ids(store):
    return {record.session_id for record in store.sessions()}


def listed(done):
    assert done.returncode == 0, done.stderr
    return {json.loads(line)["session_id"] for line in done.stdout.splitlines()}


# dal sessions


def test_sessions_are_a_table(three, run):
    done = run("sessions")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    assert {tuple(row[:5]) for row in rows} == {
        ("first", "web", "u1", "active", "1"),
        ("second", "telegram", "u2", "archived", "1"),
        ("third", "telegram", "u1", "active", "1"),
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row[5]) for row in rows)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), ["first", "second", "third"]),
        (("--user", "u1"), ["first", "third"]),
        (("--source", "telegram"), ["second", "third"]),
        (("--status", "archived"), ["second"]),
        (("--status", "archived", "--status", "paused"), ["second"]),
        (("--status", "archived", "--status", "active"), ["first", "second", "third"]),
        (("--status", "trashed"), []),
        (("--parent", "first"), []),
        (("--user", "u1", "--source", "telegram", "--status", "active"), ["third"]),
    ],
    ids=str,
)
def test_sessions_are_filtered_as_in_python(three, run, filters, expected):
    assert listed(run("sessions", *filters, "--format", "json")) == set(expected)


def test_children_are_listed(three, run):
    fork = three.session("first").fork()
    fork.pause()
    three.session("first").fork()
    assert len(listed(run("sessions", "--parent", "first", "--format", "json"))) == 2
    paused = run("sessions", "--parent", "first", "--user", "u1", "--status", "paused", "--format", "json")
    assert listed(paused) == {fork.id}
    assert_fails(run("sessions", "--parent", "first", "--source", "web"), "source: cannot be given together")


def test_a_line_of_json_has_all_fields_of_a_session(three, run):
    (line,) = run("sessions", "--user", "u2", "--format", "json").stdout.splitlines()
    record = three.session("second").record()
    found = json.loads(line)
    assert list(found) == list(record.__slots__)
    assert found["metadata"] == {}
    assert datetime.fromisoformat(found["created_at"]) == record.created_at


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_page_shows_how_to_get_the_next_one(three, run, form):
    found, options = [], ()
    while True:
        done = run("sessions", "-n", "1", "--format", form, *options)
        found += re.findall("first|second|third", done.stdout)
        if not done.stderr:
            break
        options = ("--cursor", re.fullmatch(r"There are more: add --cursor (\S+)\n", done.stderr)[1])
    assert sorted(found) == ["first", "second", "third"]


def test_no_sessions_are_no_error(run):
    done = run("sessions")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No such sessions.\n")
    assert run("sessions", "--format", "json").stdout == ""


def test_an_invalid_cursor_or_status_is_an_error(run):
    assert_fails(run("sessions", "--cursor", "x"), "cursor: invalid")
    assert run("sessions", "--status", "gone").returncode == 2
    assert run("sessions", "--limit", "0").returncode == 2


def test_names_of_sessions_do_not_reach_the_terminal(sync_store, run):
    sync_store.session(ESCAPE, source=ESCAPE, user_id=ESCAPE).append(ESCAPE, ESCAPE, agent_id=ESCAPE)
    for command in (("sessions",), ("show", ESCAPE), ("sessions", "--format=json"), ("show", ESCAPE, "--format=json")):
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert all(char.isprintable() or char == "\n" for char in done.stdout), command
        assert "[31m" in done.stdout


# dal show


def test_a_session_is_shown_with_its_latest_messages(sync_store, run):
    session = sync_store.session("s", source="web", user_id="u1", parent_id="before", metadata={"title": "日本"})
    session.append("user", "hello\nworld")
    session.append("assistant", "a\u3000b\u00a0c 👨\u200d👩\u200d👧", agent_id="planner", metadata={"tokens": 7})
    done = run("show", "s")
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", done.stdout)
    assert shown.splitlines() == [
        "s",
        "  source         web",
        "  user           u1",
        "  continues      before",
        "  status         active",
        "  messages       2",
        "  agents         planner",
        "  created        TIME",
        "  last activity  TIME",
        '  metadata       {"title": "日本"}',
        "",
        "#0  user  TIME",
        "    hello",
        "    world",
        "",
        "#1  assistant (planner)  TIME",
        "    a\u3000b\u00a0c 👨\u200d👩\u200d👧",
        '    {"tokens": 7}',
    ]


def test_the_messages_of_a_session_have_pages(sync_store, run):
    session = sync_store.session("s")
    for n in range(5):
        session.append("user", f"message {n}")
    found, options = [], ()
    while True:
        done = run("show", "s", "--limit", "2", *options)
        found.append(re.findall("message [0-9]", done.stdout))
        if not done.stderr:
            break
        options = ("--before", re.fullmatch(r"There are earlier messages: add --before (\d)\n", done.stderr)[1])
    assert found == [["message 3", "message 4"], ["message 1", "message 2"], ["message 0"]]


def test_long_content_is_shortened_by_default(sync_store, run):
    text = "x" * (show._MOST_SHOWN + 1234)
    sync_store.session("s").append("user", text)
    assert "x… and 1,234 more characters; --full shows them\n" in run("show", "s").stdout
    assert f"    {text}\n" in run("show", "s", "--full").stdout
    assert json.loads(run("show", "s", "--format", "json").stdout)["messages"][0]["content"] == text


def test_json_has_the_session_its_agents_and_the_messages(sync_store, run):
    session = sync_store.session("s", metadata={"a": [1, None]})
    said = session.append("user", "hello", agent_id="planner", metadata={"b": 1.5})
    (line,) = run("show", "s", "--format", "json").stdout.splitlines()
    document = json.loads(line)
    assert list(document) == ["session", "agent_ids", "messages"]
    assert document["session"]["metadata"] == {"a": [1, None]}
    assert document["agent_ids"] == ["planner"]
    (message,) = document["messages"]
    assert message.pop("created_at") == said.created_at.isoformat()
    assert dal.Message(**message, created_at=said.created_at) == said


def test_an_unknown_session_exits_with_the_answer_no(run):
    assert_fails(run("show", "none"), "session 'none' is not stored", status=1)
    assert_fails(run("show", "none", "--before", "7", "--format", "json"), "session 'none' is not stored", status=1)


def test_reading_needs_no_privilege_to_write(old, run, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    assert listed(run("sessions", "--format", "json")) == {"first", "second", "third"}
    assert run("show", "second").returncode == 0
    assert run("delete-idle", "--older-than", "9d", "--dry-run").returncode == 0


# dal delete-idle


def test_idle_sessions_are_deleted(old, run):
    done = run("delete-idle", "--older-than", "90d", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Deleted 2 sessions.\n", "")
    assert ids(old) == {"third"}
    assert run("delete-idle", "--older-than", "90d", "--yes").stdout == "Deleted 0 sessions.\n"


@pytest.mark.parametrize(("given", "share"), [((), 1), (("--load", "20"), 4), (("--load", "100"), 0)])
def test_it_pauses_after_each_statement(old, ages, run, monkeypatch, given, share):  # noqa: PLR0917
    """The statements take the given share of the time, also those that delete one long session."""
    ended, slept, really = [], [], Observer.ended

    def end(observer, query, parameters, attempts, *outcome):
        attempts.began = monotonic() - 2
        ended.append(query)
        really(observer, query, parameters, attempts, *outcome)

    old.session("first").append_all([dal.NewMessage(role="user", content="x")] * 2)
    ages("first", 100)
    monkeypatch.setattr(Observer, "ended", end)
    monkeypatch.setattr(idle, "MESSAGES", 1)
    monkeypatch.setattr(idle.time, "sleep", slept.append)
    done = run("delete-idle", "--older-than", "90d", "--yes", *given)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Deleted 2 sessions.\n", "")
    assert ids(old) == {"third"}
    assert ended.count("messages.delete_range") == 3
    assert slept == pytest.approx([2 * share] * len(ended), abs=0.1)


def test_the_sessions_of_one_user_are_deleted(old, run):
    assert run("delete-idle", "--older-than", "90d", "--user", "u1", "--yes").stdout == "Deleted 1 sessions.\n"
    assert ids(old) == {"second", "third"}


def test_the_time_may_be_a_date(old, ages, run):
    ages("third", 50)
    before = (datetime.now(UTC) - timedelta(days=75)).date().isoformat()
    run("delete-idle", "--before", before, "--yes")
    assert ids(old) == {"third"}


@pytest.mark.parametrize("page", [1, 1000])
def test_a_dry_run_counts_and_deletes_nothing(old, run, schema, monkeypatch, page):
    monkeypatch.setattr(idle, "_PAGE", page)
    old.session("first").append("user", "not idle any more")
    done = run("delete-idle", "--older-than", "12w", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"Would delete 1 sessions with 1 messages, without activity since .* UTC, in schema {schema} of database .*\n",
        done.stdout,
    )
    assert ids(old) == {"first", "second", "third"}


@pytest.mark.parametrize("limited", ["SESSIONS", "MESSAGES"])
def test_it_deletes_in_small_transactions(old, run, monkeypatch, limited):
    monkeypatch.setattr(idle, limited, 1)
    steps, really = [], dal.SessionStore.delete_idle

    def delete_idle(*arguments, **options):
        steps.append(really(*arguments, **options))
        return steps[-1]

    monkeypatch.setattr(dal.SessionStore, "delete_idle", delete_idle)
    assert run("delete-idle", "--older-than", "90d", "--yes").stdout == "Deleted 2 sessions.\n"
    assert [len(step) for step in steps] == [1, 1, 0]


def test_an_interrupted_deletion_reports_its_progress(old, run, monkeypatch):
    monkeypatch.setattr(idle, "SESSIONS", 1)
    monkeypatch.setattr(signals, "ignore", lambda: None)
    steps, really = iter([True, False]), dal.SessionStore.delete_idle

    def delete_idle(*arguments, **options):
        if not next(steps):
            raise signals.Stopped(signal.SIGINT)
        return really(*arguments, **options)

    monkeypatch.setattr(dal.SessionStore, "delete_idle", delete_idle)
    done = run("delete-idle", "--older-than", "90d", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (130, "Deleted 1 sessions.\n", "dal: stopped by SIGINT\n")


def test_locked_sessions_are_skipped_and_listed(old, connect, run):
    user = connect(autocommit=False)
    user.execute("SELECT FROM sessions WHERE session_id = 'first' FOR UPDATE")
    done = run("delete-idle", "--older-than", "90d", "--yes")
    assert (done.returncode, done.stdout) == (1, "Deleted 1 sessions.\n")
    assert done.stderr == "dal: sessions that are in use were skipped; run it again\n"
    user.rollback()
    assert run("delete-idle", "--older-than", "90d", "--yes").stdout == "Deleted 1 sessions.\n"


def test_nothing_is_deleted_without_confirmation(old, run):
    assert_fails(run("delete-idle", "--older-than", "90d"), "--yes: is needed")
    assert ids(old) == {"first", "second", "third"}


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, {"third"}), ("n", 1, {"first", "second", "third"})])
def test_it_asks_for_confirmation_on_a_terminal(old, run, schema, answer, status, left):  # noqa: PLR0917
    done = answer_on_a_terminal(answer, "delete-idle", "--older-than", "90d", "--schema", schema)
    assert done.returncode == status, done.stderr
    assert "Delete 2 sessions with 2 messages, without activity since" in done.stderr
    assert done.stdout == ("Deleted 2 sessions.\n" if status == 0 else "")
    assert ids(old) == left


def test_the_trash_is_emptied(old, ages, run):
    for name in ("first", "third"):
        old.session(name).trash()
    ages("first", 50)
    assert listed(run("sessions", "--status", "trashed", "--format", "json")) == {"first", "third"}
    assert run("delete-idle", "--older-than", "90d", "--status", "trashed", "--dry-run").stdout.startswith(
        "Would delete 0 "
    )
    assert run("delete-idle", "--older-than", "30d", "--status", "trashed", "--dry-run").stdout.startswith(
        "Would delete 1 "
    )
    done = run("delete-idle", "--older-than", "30d", "--status", "trashed", "--yes")
    assert (done.returncode, done.stdout) == (0, "Deleted 1 sessions.\n")
    assert listed(run("sessions", "--status", "trashed", "--format", "json")) == {"third"}
    assert ids(old) == {"second"}


# dal erase-user


@pytest.fixture
def users(three):
    """Put one of the two sessions of u1 into the trash, and remove a message of it."""
    session = three.session("first")
    session.append("user", "again")
    session.remove_last()
    session.trash()
    return three


def test_everything_of_a_user_is_erased(users, run, connection):
    done = run("erase-user", "u1", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Deleted 2 sessions, 2 messages and 1 removed messages.\n"
    assert ids(users) == {"second"}
    assert connection.execute("SELECT count(*) FROM sessions WHERE user_id = 'u1'").fetchone() == (0,)
    assert run("erase-user", "u1", "--yes").stdout == "Deleted 0 sessions, 0 messages and 0 removed messages.\n"


def test_forks_of_others_are_printed(users, run, connection):
    users.session("third").fork(session_id=f"fork {ESCAPE}")
    connection.execute("UPDATE sessions SET user_id = 'u2' WHERE fork_point IS NOT NULL")
    done = run("erase-user", "u1", "--yes")
    assert r"\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("of another user is a fork, and still has messages of this user.\n")


def test_an_interrupted_erasure_prints_what_was_deleted(users, run, monkeypatch):
    monkeypatch.setattr(erase, "_STEP", 1)
    monkeypatch.setattr(signals, "ignore", lambda: None)
    really = dal.SessionStore.erase_user

    def erase_user(store, user_id, limit, *, progress):
        def interrupt(erased):
            progress(erased)
            raise signals.Stopped(signal.SIGINT)

        return really(store, user_id, limit, progress=interrupt)

    monkeypatch.setattr(dal.SessionStore, "erase_user", erase_user)
    done = run("erase-user", "u1", "--yes")
    assert (done.returncode, done.stderr) == (130, "dal: stopped by SIGINT\n")
    assert done.stdout.startswith("Deleted 1 sessions, ")


def test_nothing_is_erased_without_confirmation(users, run):
    assert_fails(run("erase-user", "u1"), "--yes: is needed")
    assert users.sessions(user_id="u1", status=("active", "trashed")).sessions


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, {"second"}), ("n", 1, {"second", "third"})])
def test_an_erasure_asks_for_confirmation_on_a_terminal(users, run, schema, answer, status, left):  # noqa: PLR0917
    done = answer_on_a_terminal(answer, "erase-user", "u1", "--schema", schema)
    assert done.returncode == status, done.stderr
    assert "Delete everything of user u1, 2 sessions with 2 messages, in schema" in done.stderr
    assert bool(done.stdout) == (status == 0)
    assert ids(users) == left


def answer_on_a_terminal(answer, *command):
    mine, its = pty.openpty()
    os.write(mine, f"{answer}\n".encode())
    call = [sys.executable, "-m", "dal.cli", *command]
    done = subprocess.run(call, stdin=its, capture_output=True, text=True, timeout=120, check=False)
    os.close(its)
    os.close(mine)
    return done


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((), "give either --before or --older-than"),
        (("--before", "2026-01-01", "--older-than", "90d"), "give either --before or --older-than"),
        (("--before", "yesterday"), "--before: 'yesterday' is not a time"),
        (("--older-than", "90"), "--older-than: '90' is not a duration such as 30m, 12h, 90d or 8w"),
        (("--older-than", "999999w"), "--older-than: '999999w' is before the year 1"),
    ],
    ids=str,
)
def test_an_unclear_time_deletes_nothing(old, run, times, message):
    done = run("delete-idle", *times, "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert ids(old) == {"first", "second", "third"}


# dal purge


def test_old_leftovers_are_purged(old, connection, run):
    run("delete-idle", "--older-than", "90d", "--yes")
    old.session("third").append_all([dal.NewMessage(role="user", content="x")] * 3)
    old.session("third").remove_last(2)
    assert run("purge", "--older-than", "1h", "--yes").stdout == "Purged 0 removed messages and 0 tombstones.\n"
    before = datetime.now(UTC) - timedelta(days=2)
    connection.execute("UPDATE sessions SET listed_at = %s WHERE status = 'deleted'", [before])
    connection.execute("UPDATE removed_messages SET removed_at = %s", [before])
    assert_fails(run("purge", "--older-than", "1d"), "--yes: is needed")
    done = run("purge", "--older-than", "1d", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Purged 2 removed messages and 2 tombstones.\n", "")
    assert old.session("third").latest() != ()
