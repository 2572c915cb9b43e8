"""OpenTelemetry: spans and metrics of a store, by the semantic conventions for databases.

pip install 'session-dal[otel]'

store = dal.SessionStore.connect(…, hook=dal.otel.spans())
dal.otel.metrics(store)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from operator import itemgetter
from time import time_ns
from typing import Any
from weakref import ref

from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

import dal
from dal.watching import Hook, Ran

_SCHEMA = "https://opentelemetry.io/schemas/1.33.0"

_QUERIES = frozenset(dal.queries)

_OF_AN_OPERATION = (
    "db.system.name",
    "db.namespace",
    "db.collection.name",
    "db.operation.name",
    "db.query.summary",
    "db.response.status_code",
    "error.type",
    "server.address",
    "server.port",
)
"""The attributes of an operation's duration: those that have few values."""

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""The boundaries that the conventions advise for durations."""

Attributes = dict[str, str | int]


def spans(provider: TracerProvider | None = None) -> Hook:
    """Return a hook that makes a span for each operation, below the span that is current where it is called.

    Through a writer, each append has a span from its call to its end, and each statement that is sent for appends has a
    span of its own, with a link to each of theirs. Spans have the statement's text, from its file, and no parameters.
    """
    return _Spans(trace.get_tracer("dal", tracer_provider=provider, schema_url=_SCHEMA))


class _Spans:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def queued(self) -> Span:
        """Begin the span of an append that a writer is given."""
        return self._tracer.start_span("writer.append")

    def __call__(self, ran: Ran) -> None:
        """End the span of an append, or make that of another operation."""
        ended = time_ns()
        attributes = _attributes(ran)
        if isinstance(ran.token, Span):
            span = ran.token
            span.set_attributes(attributes)
        else:
            span = self._tracer.start_span(
                ran.query,
                kind=SpanKind.INTERNAL if ran.query == "writer.append" else SpanKind.CLIENT,
                attributes=attributes,
                links=[Link(token.get_span_context()) for token in ran.tokens if isinstance(token, Span)],
                start_time=ended - int(ran.seconds * 1e9),
            )
        if ran.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


def _attributes(ran: Ran) -> Attributes:
    given: dict[str, str | int | None] = {
        "db.response.returned_rows": ran.rows,
        "db.response.status_code": getattr(ran.error, "sqlstate", None),
        "error.type": None if ran.error is None else type(ran.error).__name__,
        "session_dal.retries": ran.retries or None,
    }
    if ran.query != "writer.append":
        collection, _, operation = ran.query.partition(".")
        given |= {
            "db.system.name": "postgresql",
            "db.namespace": ran.database,
            "db.collection.name": collection,
            "db.operation.name": operation,
            "db.operation.batch.size": ran.batch_size if (ran.batch_size or 0) > 1 else None,
            "db.query.summary": ran.query,
            "db.query.text": dal.queries[ran.query].sql.decode() if ran.query in _QUERIES else None,
            "server.address": ran.host,
            "server.port": ran.port,
        }
    return {key: value for key, value in given.items() if value is not None}


def metrics(
    store: dal.SessionStore | dal.AsyncSessionStore, provider: MeterProvider | None = None, *, pool: str = "session-dal"
) -> None:
    """Report the metrics of a store, its pool and its writers. Call it once for each store; it keeps none alive.

    They are the durations of operations and of waiting for a connection; the pool's connections, and the calls that
    wait for one; and of writers the appends that wait, and the durations of appends, from the call to the end. `pool`
    is the pool's name in them: give each of several stores its own.
    """
    meter = api.get_meter("dal", meter_provider=provider, schema_url=_SCHEMA)
    runner = store._backend.runner  # noqa: SLF001 - one of our own
    named: Attributes = {"db.client.connection.pool.name": pool}
    runner.watch.add(_recorder(meter, named if runner.is_pooled else None))
    if runner.is_pooled:
        _observe(meter, ref(runner), named)


def _recorder(meter: Meter, pool: Attributes | None) -> Hook:
    """Return a hook that records durations."""

    def histogram(name: str) -> Histogram:
        return meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=_SECONDS)

    operations = histogram("db.client.operation.duration")
    waits = histogram("db.client.connection.wait_time")
    appends = histogram("session_dal.writer.append.duration")

    def record(ran: Ran) -> None:
        given = _attributes(ran)
        few = {key: given[key] for key in _OF_AN_OPERATION if key in given}
        if ran.query == "writer.append":
            appends.record(ran.seconds, few)
        else:
            operations.record(ran.seconds, few)
            if pool is not None and ran.waited:
                waits.record(ran.waited, pool)

    return record


Callback = Callable[[CallbackOptions], Iterator[Observation]]


def _observe(meter: Meter, runner: ref[Any], pool: Attributes) -> None:
    """Observe a pool and the queues of its writers, while there is the runner."""

    def observer(read: Callable[[Any], int], **more: str) -> Callback:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            alive = runner()
            if alive is not None:
                yield Observation(read(alive), pool | {f"db.client.connection.{key}": of for key, of in more.items()})

        return observe

    def of_pool(read: Callable[[Counter[str]], int], **more: str) -> Callback:
        return observer(lambda runner: read(_stats(runner)), **more)

    level = meter.create_observable_up_down_counter
    idle = of_pool(lambda stats: stats["pool_available"], state="idle")
    used = of_pool(lambda stats: stats["pool_size"] - stats["pool_available"], state="used")
    level("db.client.connection.count", [idle, used], "{connection}")
    level("db.client.connection.idle.min", [of_pool(itemgetter("pool_min"))], "{connection}")
    level("db.client.connection.idle.max", [of_pool(itemgetter("pool_max"))], "{connection}")
    level("db.client.connection.max", [of_pool(itemgetter("pool_max"))], "{connection}")
    level("db.client.connection.pending_requests", [of_pool(itemgetter("requests_waiting"))], "{request}")
    errors = of_pool(itemgetter("requests_errors"))
    meter.create_observable_counter("db.client.connection.timeouts", [errors], "{timeout}")
    queued = observer(lambda runner: sum(queue.length for queue in list(runner.watch.queues)))
    level("session_dal.writer.queue.length", [queued], "{append}")


def _stats(runner: Any) -> Counter[str]:
    """Return the figures of the pool, or the sums of those that it has in several event loops."""
    stats: Counter[str] = Counter()
    for pool in runner.pools:
        stats.update(pool.get_stats())
    return stats
