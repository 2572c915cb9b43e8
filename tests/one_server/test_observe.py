"""Operations as seen by a hook, the log and OpenTelemetry."""

import dataclasses
import json
import logging
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from psycopg.conninfo import make_conninfo

import dal
from dal import NewMessage, otel
from dal.histories import batch

SECRET = "secret content"


@pytest.fixture
def store_with_hook(side, server, schema, tables):
    """Create a store with a hook, on a pool of one connection."""
    stores = []

    def make(hook, **options):
        conninfo = make_conninfo(server.conninfo, application_name=schema)
        stores.append(side.connect_store(conninfo, schema=schema, max_size=1, hook=hook, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def run_operations(store):
    """Operations that return one row, two rows and none, and one that is refused."""
    session = store.session("s")
    session.append("user", SECRET, metadata={"secret": SECRET})
    session.append_all([NewMessage(role="user", content=SECRET) for _ in range(2)])
    session.latest(2)
    session.message("none")
    session.archive()
    with pytest.raises(dal.SessionArchived):
        session.append("user", SECRET)


def test_a_hook_sees_each_operation(store_with_hook, connection):
    operations = []
    run_operations(store_with_hook(operations.append))
    assert [(operation.query, operation.rows) for operation in operations] == [
        ("messages.append", 1),
        ("messages.append_all", 2),
        ("messages.latest", 2),
        ("messages.get", 0),
        ("sessions.archive", 1),
        ("messages.append", 0),
        ("sessions.get", 1),  # To find the reason of the refusal.
    ]
    assert all(
        operation.error is None and operation.retries == 0 and 0 < operation.seconds < 10 for operation in operations
    )
    assert {operation.database for operation in operations} == {connection.info.dbname}
    assert [operation.batch_size for operation in operations] == [None, 2, None, None, None, None, None]
    assert SECRET not in repr([dataclasses.astuple(operation) for operation in operations])


def test_a_hook_gets_parameters_only_on_request(store_with_hook, side, server, options):
    operations = []
    raw = side.connect(server.conninfo, **options)
    for store in (
        store_with_hook(operations.append, hook_parameters=True),
        side.store(raw, hook=operations.append, hook_parameters=True),
    ):
        store.session().append("user", SECRET)
        store.using(raw).for_user("u1").session().append("user", SECRET)
    assert [operation.parameters["content"] for operation in operations] == [SECRET] * 4
    assert SECRET not in repr(operations)
    raw.close()


def test_a_hook_sees_retries_and_errors(store_with_hook, connection, schema):
    operations = []
    store = store_with_hook(operations.append)
    session = store.session("s")
    session.append("user", "x")
    kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
    connection.execute(kill, [schema])
    session.append("user", "y")
    assert (operations[-1].retries, operations[-1].error) == (1, None)
    connection.execute(kill, [schema])
    with pytest.raises(dal.ServerUnavailable) as refused:
        store.delete_idle(datetime(2000, 1, 1, tzinfo=UTC))  # It is not repeated.
    seen = operations[-1]
    assert (seen.query, seen.rows, seen.error) == ("sessions.delete_idle", None, refused.value)


def test_a_hook_sees_operations_of_transactions_and_confined_stores(store_with_hook):
    operations = []
    store = store_with_hook(operations.append)
    with store.transaction() as tx:
        tx.for_user("u1").session("s").append("user", "x")
    assert [operation.query for operation in operations] == ["messages.append"]


def test_a_hook_sees_the_pages_of_an_export_and_the_batches_of_an_import(store_with_hook, monkeypatch):
    monkeypatch.setattr(batch, "MOST_LINES", 2)
    operations = []
    store = store_with_hook(operations.append)
    message = {"role": "user", "content": SECRET}
    assert store.import_(json.dumps({"message": message | {"session_id": name}}) for name in "aabb").messages == 4
    list(store.export())
    assert [(operation.query, operation.rows, operation.error) for operation in operations] == [
        ("histories.store", 1, None),
        ("histories.store", 1, None),
        ("sessions.export", 2, None),
        ("messages.export", 4, None),
        ("sessions.export", 0, None),
    ]
    assert {operation.database for operation in operations} == {operations[-1].database}
    assert SECRET not in repr(operations)
    with pytest.raises(dal.InvalidInput) as refused:
        store.import_([json.dumps({"message": message | {"session_id": "c", "message_id": "m"}})] * 2)
    assert (operations[-1].query, operations[-1].rows, operations[-1].error) == ("histories.store", None, refused.value)


def test_an_exception_in_a_hook_does_not_fail_the_operation(store_with_hook, caplog):
    def hook(operation):
        raise ValueError(operation.query)

    session = store_with_hook(hook).session("s")
    assert session.append("user", SECRET).sequence == 0
    assert len(session.latest()) == 1
    assert "messages.append has ended, and the store's hook failed" in caplog.text
    assert SECRET not in caplog.text


def test_the_log_shows_names_and_no_content(store_with_hook, caplog, connection, schema):
    store = store_with_hook(None)
    with caplog.at_level(logging.INFO, logger="dal"):
        run_operations(store)
        assert not [record for record in caplog.records if record.name == "dal"]
    with caplog.at_level(logging.DEBUG, logger="dal"):
        store.session("t").append("user", SECRET, metadata={"secret": SECRET}, message_id="m")
        with pytest.raises(dal.MessageConflict):
            store.session("t").append("user", f"{SECRET}!", message_id="m")
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", [schema]
        )
        store.session("t").latest()
    lines = [record.getMessage() for record in caplog.records if record.name == "dal"]
    assert lines[0].startswith("messages.append: 1 row in ")
    assert any(line.startswith("messages.latest: ") and "tried again in" in line for line in lines)
    assert lines[-1].startswith("messages.latest: 1 row in ")
    assert lines[-1].endswith(", tried again 1 times")
    assert SECRET not in caplog.text


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def test_spans_of_operations(store_with_hook, exporter, provider, server):
    store = store_with_hook(otel.spans(provider))
    tracer = provider.get_tracer("service")
    with tracer.start_as_current_span("a turn") as turn:
        run_operations(store)
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


def test_a_span_of_an_import(store_with_hook, exporter, provider, caplog):
    """Its statements are not from query files."""
    store = store_with_hook(otel.spans(provider))
    line = {"message": {"session_id": "s", "role": "user", "content": SECRET}}
    assert store.import_([json.dumps(line)]).messages == 1
    (span,) = exporter.get_finished_spans()
    assert (span.name, "db.query.text" in span.attributes) == ("histories.store", False)
    assert caplog.text == ""


def test_a_span_of_a_failed_operation(store_with_hook, exporter, provider, connection, schema):
    store = store_with_hook(otel.spans(provider))
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
