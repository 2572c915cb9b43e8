"""OpenTelemetry: the spans of a writer's appends and statements, and metrics."""

import contextvars
import gc
import threading
import time
import weakref
from functools import partial

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sides import unwrap

import dal
from dal import otel

pytestmark = pytest.mark.usefixtures("tables")

CALLERS, EACH = 12, 4
USER = contextvars.ContextVar("user", default=None)


def append_from_callers(side, writer, around):
    """Call the writer from many threads or tasks, each with its own context, several times each."""

    def operation(n):
        session = unwrap(writer.session(f"s{n}"))

        def append():
            USER.set(n)
            for turn in range(EACH):
                with around(f"turn {n} {turn}"):
                    session.append("user", "x")

        async def append_too():
            USER.set(n)
            for turn in range(EACH):
                with around(f"turn {n} {turn}"):
                    await session.append("user", "x")

        return append if side.name == "sync" else append_too

    assert side.call_concurrently([operation(n) for n in range(CALLERS)]) == [None] * CALLERS


@pytest.fixture
def connect_store(side, server, schema):
    return partial(side.connect_store, server.conninfo, schema=schema)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def metering(reader):
    provider = MeterProvider([reader])
    yield provider
    provider.shutdown()


def test_each_append_through_a_writer_has_its_own_span(side, connect_store, exporter, tracing):
    hook, tracer = otel.spans(tracing), tracing.get_tracer("service")
    with connect_store(hook=hook) as store, store.writer() as writer:
        append_from_callers(side, writer, tracer.start_as_current_span)
    spans = exporter.get_finished_spans()
    turns = {span.context.span_id: span for span in spans if span.name.startswith("turn")}
    appends = {span.context.span_id: span for span in spans if span.name == "writer.append"}
    statements = [span for span in spans if span.name.startswith("messages.append")]
    assert sorted(span.parent.span_id for span in appends.values()) == sorted(turns)
    assert {span.kind for span in appends.values()} == {SpanKind.INTERNAL}
    for span in statements:
        assert (span.parent, span.kind) == (None, SpanKind.CLIENT)
        assert span.attributes["db.response.returned_rows"] == len(span.links)
        for link in span.links:
            append = appends[link.context.span_id]
            turn = turns[append.parent.span_id]
            assert turn.start_time <= append.start_time <= span.start_time + 1e6, "the span includes the waiting time"
            assert span.end_time <= append.end_time <= turn.end_time
    linked = [link.context.span_id for span in statements for link in span.links]
    assert sorted(linked) == sorted(appends), "every append in one statement"
    assert len(statements) < len(appends)


def test_a_refused_append_through_a_writer_has_an_error_on_its_span(connect_store, connection, exporter, tracing):
    connection.execute("ALTER TABLE messages ADD CHECK (content <> 'bad')")
    with connect_store(hook=otel.spans(tracing)) as store, store.writer() as writer:
        with pytest.raises(dal.StatementFailed):
            writer.session().append("user", "bad")
    statement, append = exporter.get_finished_spans()
    assert (statement.name, append.name) == ("messages.append", "writer.append")
    for span in (statement, append):
        assert span.status.status_code == StatusCode.ERROR
        assert (span.attributes["error.type"], span.attributes["db.response.status_code"]) == (
            "StatementFailed",
            "23514",
        )


def test_a_hook_runs_in_its_callers_context(side, connect_store):
    """A batch runs in no caller's context."""
    seen = []
    outer = USER.set("the creator of the store")

    def hook(operation):
        seen.append((operation.query, USER.get(), len(operation.tokens)))

    with connect_store(hook=hook) as store, store.writer() as writer:
        append_from_callers(side, writer, lambda _: threading.Lock())
        append_from_callers(side, store, lambda _: threading.Lock())
    USER.reset(outer)
    through_writer = [user for query, user, _ in seen if query == "writer.append"]
    statements = [(user, tokens) for query, user, tokens in seen if query != "writer.append"]
    direct = [user for user, tokens in statements if tokens == 0]
    assert sorted(through_writer) == sorted(direct) == sorted(list(range(CALLERS)) * EACH)
    assert {user for user, tokens in statements if tokens} == {None}
    assert sum(tokens for _, tokens in statements) == CALLERS * EACH


def measured(reader):
    """Return the last value of each metric, by its name and its attributes except the pool's name."""
    values = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    labels = {k: v for k, v in point.attributes.items() if k != "db.client.connection.pool.name"}
                    value = point.count if hasattr(point, "count") else point.value
                    values[metric.name, tuple(sorted(labels.items()))] = value
    return values


def level(reader, name, **labels):
    prefix = "db.client.connection." if name.startswith("db") else ""
    return measured(reader)[name, tuple(sorted((prefix + key, value) for key, value in labels.items()))]


def test_metrics_of_a_standby(connect_store, server, reader, metering):
    with connect_store(standby=server.conninfo, standby_wait=5.0, max_size=3) as store:
        otel.metrics(unwrap(store), metering, pool="mine")
        store.session("s").latest()
        store.on_primary().session("s").latest()
        metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        sizes = next(metric for metric in metrics if metric.name == "db.client.connection.max")
        pools = {point.attributes["db.client.connection.pool.name"]: point.value for point in sizes.data.data_points}
        assert pools == {"mine": 3, "mine-standby": 3}


def test_metrics_of_a_pool(connect_store, reader, metering):
    with connect_store(min_size=1, max_size=2, timeout=1.0, retries=0) as store:
        otel.metrics(unwrap(store), metering, pool="mine")
        store.session("s").append("user", "x")
        assert level(reader, "db.client.connection.count", state="idle") >= 1
        with store.transaction(), store.transaction():
            assert level(reader, "db.client.connection.count", state="idle") == 0
            assert level(reader, "db.client.connection.count", state="used") == 2
            with pytest.raises(dal.ServerUnavailable, match="no connection was free"):
                store.session("s").latest()
        assert level(reader, "db.client.connection.timeouts") == 1
        assert level(reader, "db.client.connection.max") == level(reader, "db.client.connection.idle.max") == 2
        assert level(reader, "db.client.connection.idle.min") == 1
        assert level(reader, "db.client.connection.pending_requests") == 0
        assert level(reader, "db.client.connection.wait_time") == 1
        durations = {dict(labels)["db.query.summary"]: count for (name, labels), count in measured(reader).items()
                     if name == "db.client.operation.duration"}  # fmt: skip
        assert durations == {"messages.append": 1, "messages.latest": 1}
        labels = next(dict(labels) for (name, labels) in measured(reader) if "error.type" in dict(labels))
        assert labels["error.type"] == "ServerUnavailable"
        assert not {"db.query.text", "session_dal.retries"} & labels.keys(), "high-cardinality attributes are no labels"


def test_waiting_callers_are_counted(server, schema, connection, reader, metering):
    """Callers that wait for a connection, and in a writer's queue."""
    with dal.SessionStore.connect(server.conninfo, schema=schema, max_size=1) as store, store.writer() as writer:
        otel.metrics(store, metering)
        store.check_schema()
        session = writer.session("s")
        threads = [threading.Thread(target=session.append, args=("user", "x")) for _ in range(4)]
        with connection.transaction():
            connection.execute("LOCK messages")
            for thread in threads:
                thread.start()
            threads.append(threading.Thread(target=store.session("s").latest))
            while level(reader, "session_dal.writer.queue.length") < 3:
                time.sleep(0.01)
            threads[-1].start()
            while level(reader, "db.client.connection.pending_requests") < 1:
                time.sleep(0.01)
        for thread in threads:
            thread.join()
        assert level(reader, "session_dal.writer.queue.length") == 0
        assert level(reader, "session_dal.writer.append.duration") == 4


def test_a_callers_connection_has_only_durations(side, server, options, reader, metering):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    otel.metrics(unwrap(store), metering)
    store.session().append("user", "x")
    assert {name for name, _ in measured(reader)} == {"db.client.operation.duration"}
    raw.close()


def test_metrics_keep_no_store_alive(connect_store, reader, metering):
    with connect_store() as store, store.writer() as writer:
        otel.metrics(unwrap(store), metering)
        writer.session().append("user", "x")
        assert level(reader, "db.client.connection.max") == 10
        left = weakref.ref(unwrap(store)), weakref.ref(unwrap(store)._backend.runner)
    del store, writer
    gc.collect()
    assert [one() for one in left] == [None, None]
    assert {name for name, _ in measured(reader)} <= {
        "db.client.operation.duration", "db.client.connection.wait_time", "session_dal.writer.append.duration"
    }  # fmt: skip
