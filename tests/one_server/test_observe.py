"""What a hook, the log and OpenTelemetry are told of each operation."""

import dataclasses
import json
import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from psycopg.conninfo import make_conninfo

import dal
from dal import NewMessage, otel
from dal.histories import batch

SECRET = "what nobody but the model shall read"


@pytest.fixture
def watched(side, server, schema, tables):
    """Make a store with a hook, on a pool of one connection."""
    stores = []

    def make(hook, **options):
        conninfo = make_conninfo(server.conninfo, application_name=schema)
        stores.append(side.connect_store(conninfo, schema=schema, max_size=1, hook=hook, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def every_outcome(store):
    """An operation that gives a row, two rows, none; one that is refused by the store, and one by the server."""
    session = store.session("s")
    session.append("user", SECRET, metadata={"secret": SECRET})
    session.append_all([NewMessage(role="user", content=SECRET) for _ in range(2)])
    session.latest(2)
    session.message("none")
    session.archive()
    with pytest.raises(dal.SessionArchived):
        session.append("user", SECRET)


def test_a_hook_sees_each_operation(watched):
    seen = []
    every_outcome(watched(seen.append))
    assert [(ran.query, ran.rows) for ran in seen] == [
        ("messages.append", 1),
        ("messages.append_all", 2),
        ("messages.latest", 2),
        ("messages.get", 0),
        ("sessions.archive", 1),
        ("messages.append", 0),
        ("sessions.get", 1),  # Why it was refused.
    ]
    assert all(ran.error is None and ran.retries == 0 and 0 < ran.seconds < 10 for ran in seen)
    assert {ran.database for ran in seen} == {"postgres"} or seen[0].database
    assert [ran.batch_size for ran in seen] == [None, 2, None, None, None, None, None]
    assert SECRET not in repr([dataclasses.astuple(ran) for ran in seen])


def test_a_hook_gets_parameters_only_on_request(watched, side, server, options):
    seen = []
    raw = side.connect(server.conninfo, **options)
    for store in (watched(seen.append, hook_parameters=True), side.store(raw, hook=seen.append, hook_parameters=True)):
        store.session().append("user", SECRET)
        store.using(raw).for_user("u1").session().append("user", SECRET)
    assert [ran.parameters["content"] for ran in seen] == [SECRET] * 4
    assert SECRET not in repr(seen)
    raw.close()


def test_a_hook_sees_retries_and_errors(watched, connection, schema):
    seen = []
    store = watched(seen.append)
    session = store.session("s")
    session.append("user", "x")
    kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
    connection.execute(kill, [schema])
    session.append("user", "y")
    assert (seen[-1].retries, seen[-1].error) == (1, None)
    connection.execute(kill, [schema])
    with pytest.raises(dal.ServerUnavailable) as refused:
        session.delete()
    assert (seen[-1].query, seen[-1].rows, seen[-1].error) == ("sessions.delete", None, refused.value)


def test_a_hook_sees_what_transactions_and_confined_stores_do(watched):
    seen = []
    store = watched(seen.append)
    with store.transaction() as tx:
        tx.for_user("u1").session("s").append("user", "x")
    assert [ran.query for ran in seen] == ["messages.append"]


def test_a_hook_sees_the_pages_of_an_export_and_the_batches_of_an_import(watched, monkeypatch):
    monkeypatch.setattr(batch, "MOST_LINES", 2)
    seen = []
    store = watched(seen.append)
    said = {"role": "user", "content": SECRET}
    assert store.import_(json.dumps({"message": said | {"session_id": name}}) for name in "aabb").messages == 4
    list(store.export())
    assert [(ran.query, ran.rows, ran.error) for ran in seen] == [
        ("histories.store", 1, None),
        ("histories.store", 1, None),
        ("sessions.export", 2, None),
        ("messages.export", 4, None),
        ("sessions.export", 0, None),
    ]
    assert {ran.database for ran in seen} == {seen[-1].database}
    assert SECRET not in repr(seen)
    with pytest.raises(dal.InvalidInput) as refused:
        store.import_([json.dumps({"message": said | {"session_id": "c", "message_id": "m"}})] * 2)
    assert (seen[-1].query, seen[-1].rows, seen[-1].error) == ("histories.store", None, refused.value)


def test_a_hook_that_fails_harms_nothing(watched, caplog):
    def hook(ran):
        raise ValueError(ran.query)

    session = watched(hook).session("s")
    assert session.append("user", SECRET).sequence == 0
    assert len(session.latest()) == 1
    assert "messages.append has ended, and the store's hook failed" in caplog.text
    assert SECRET not in caplog.text


def test_the_log_tells_names_and_nothing_that_is_stored(watched, caplog, connection, schema):
    store = watched(None)
    with caplog.at_level(logging.INFO, logger="dal"):
        every_outcome(store)
        assert not [record for record in caplog.records if record.name == "dal"]
    with caplog.at_level(logging.DEBUG, logger="dal"):
        store.session("t").append("user", SECRET, metadata={"secret": SECRET}, message_id="m")
        with pytest.raises(dal.MessageConflict):
            store.session("t").append("user", f"{SECRET}!", message_id="m")
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", [schema]
        )
        store.session("t").latest()
    told = [record.getMessage() for record in caplog.records if record.name == "dal"]
    assert told[0].startswith("messages.append: 1 row in ")
    assert any(line.startswith("messages.latest: ") and "tried again in" in line for line in told)
    assert told[-1].startswith("messages.latest: 1 row in ")
    assert told[-1].endswith(", tried again 1 times")
    assert SECRET not in caplog.text


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def test_spans(watched, exporter, provider, server):
    store = watched(otel.spans(provider))
    tracer = provider.get_tracer("service")
    with tracer.start_as_current_span("a turn") as turn:
        every_outcome(store)
    *spans, last = exporter.get_finished_spans()
    assert last.name == "a turn"
    assert [span.name for span in spans][:3] == ["messages.append", "messages.append_all", "messages.latest"]
    append, append_all, *_ = spans
    assert append.kind == SpanKind.CLIENT
    assert append.parent.span_id == turn.get_span_context().span_id
    assert last.start_time <= append.start_time < append.end_time <= append_all.start_time + 1e6
    given = dict(append.attributes)
    assert given.pop("server.address")
    assert given.pop("server.port")
    assert given.pop("db.namespace")
    assert given == {
        "db.system.name": "postgresql",
        "db.collection.name": "messages",
        "db.operation.name": "append",
        "db.query.summary": "messages.append",
        "db.query.text": dal.queries.messages.append.sql.decode(),
        "db.response.returned_rows": 1,
    }
    assert append_all.attributes["db.operation.batch.size"] == 2
    assert not any(SECRET in str(value) for span in spans for value in span.attributes.values())


def test_a_span_of_an_import(watched, exporter, provider, caplog):
    """Its statements are in no query file."""
    store = watched(otel.spans(provider))
    line = {"message": {"session_id": "s", "role": "user", "content": SECRET}}
    assert store.import_([json.dumps(line)]).messages == 1
    (span,) = exporter.get_finished_spans()
    assert (span.name, "db.query.text" in span.attributes) == ("histories.store", False)
    assert caplog.text == ""


def test_a_span_of_what_failed(watched, exporter, provider, connection, schema):
    store = watched(otel.spans(provider))
    session = store.session("s")
    session.append("user", "x")
    connection.execute("ALTER TABLE messages RENAME TO away")
    with pytest.raises(dal.SchemaMismatch):
        session.latest()
    span = exporter.get_finished_spans()[-1]
    assert span.status.status_code == StatusCode.ERROR
    assert span.attributes["error.type"] == "SchemaMismatch"
    assert span.attributes["db.response.status_code"] == "42P01"
    assert "db.response.returned_rows" not in span.attributes
