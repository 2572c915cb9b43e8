"""OpenTelemetry: spans and metrics of a store, as the semantic conventions for databases define them.

pip install 'session-dal[otel]'

store = dal.SessionStore.connect(…, hook=dal.otel.spans())
dal.otel.metrics(store)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from time import time_ns
from typing import Any
from weakref import ref

from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

import dal
from dal.observe import Hook, Operation

_SCHEMA = "https://opentelemetry.io/schemas/1.33.0"

_QUERIES = frozenset(dal.queries)

_LOW_CARDINALITY = (
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
"""The attributes of durations: those with few different values."""

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""The bucket boundaries that the semantic conventions advise."""

_POOL = "db.client.connection.pool.name"

Attributes = dict[str, str | int]


def spans(provider: TracerProvider | None = None) -> Hook:
    """Return a hook that creates a span for each operation, as a child of the caller's current span.

    An append through a writer has a span of its own, from the call to its return. The statement of a batch has a span
    with links to the spans of its appends. Spans have the text of the statement, from its file, but no parameters.
    """
    return _Spans(trace.get_tracer("dal", tracer_provider=provider, schema_url=_SCHEMA))


class _Spans:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def queued(self) -> Span:
        """Begin the span of an append through a writer."""
        return self._tracer.start_span("writer.append")

    def __call__(self, operation: Operation) -> None:
        """End the span of an append through a writer, or make a span for another operation."""
        ended = time_ns()
        attributes = _attributes(operation)
        if isinstance(operation.token, Span):
            span = operation.token
            span.set_attributes(attributes)
        else:
            span = self._tracer.start_span(
                operation.query,
                kind=SpanKind.INTERNAL if operation.query == "writer.append" else SpanKind.CLIENT,
                attributes=attributes,
                links=[Link(token.get_span_context()) for token in operation.tokens if isinstance(token, Span)],
                start_time=ended - int(operation.seconds * 1e9),
            )
        if operation.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


def _attributes(operation: Operation) -> Attributes:
    given: dict[str, str | int | None] = {
        "db.response.returned_rows": operation.rows,
        "db.response.status_code": getattr(operation.error, "sqlstate", None),
        "error.type": None if operation.error is None else type(operation.error).__name__,
        "session_dal.retries": operation.retries or None,
    }
    if operation.query != "writer.append":
        collection, _, action = operation.query.partition(".")
        given |= {
            "db.system.name": "postgresql",
            "db.namespace": operation.database,
            "db.collection.name": collection,
            "db.operation.name": action,
            "db.operation.batch.size": operation.batch_size if (operation.batch_size or 0) > 1 else None,
            "db.query.summary": operation.query,
            "db.query.text": dal.queries[operation.query].sql.decode() if operation.query in _QUERIES else None,
            "server.address": operation.host,
            "server.port": operation.port,
        }
    return {key: value for key, value in given.items() if value is not None}


def metrics(
    store: dal.SessionStore | dal.AsyncSessionStore, provider: MeterProvider | None = None, *, pool: str = "session-dal"
) -> None:
    """Report metrics of a store, its pool and its writers. Call it once for each store; it keeps none of them alive.

    The metrics are the duration of operations, the wait for a connection, the pool's connections and waiting calls,
    the length of the writers' queues, and the duration of their appends. `pool` is the pool's name in the metrics;
    give each store a name of its own. The pool of a standby has this name and `-standby`.
    """
    meter = api.get_meter("dal", meter_provider=provider, schema_url=_SCHEMA)
    runner = store._backend.runner  # noqa: SLF001 - one of our own
    runner.observer.add(_recorder(meter, {_POOL: pool} if runner.source.is_pooled else None))
    runners = {pool: ref(runner)}
    standby = store._backend.standby  # noqa: SLF001
    if standby is not None:
        runners[f"{pool}-standby"] = ref(standby.runner)
    if runner.source.is_pooled:
        _observe(meter, runners)


def _recorder(meter: Meter, pool: Attributes | None) -> Hook:
    """Return a hook that records durations in histograms."""

    def histogram(name: str) -> Histogram:
        return meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=_SECONDS)

    operations = histogram("db.client.operation.duration")
    waits = histogram("db.client.connection.wait_time")
    appends = histogram("session_dal.writer.append.duration")

    def record(operation: Operation) -> None:
        given = _attributes(operation)
        few = {key: given[key] for key in _LOW_CARDINALITY if key in given}
        if operation.query == "writer.append":
            appends.record(operation.seconds, few)
        else:
            operations.record(operation.seconds, few)
            if pool is not None and operation.waited:
                waits.record(operation.waited, pool)

    return record


def _observe(meter: Meter, runners: Mapping[str, ref[Any]]) -> None:
    """Observe pools, by their names, and the queues of their writers until the runners are collected."""

    def observed(
        read: Callable[[Counter[str]], int], **more: str
    ) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            attributes = {f"db.client.connection.{key}": value for key, value in more.items()}
            for pool, runner in runners.items():
                alive = runner()
                if alive is not None:
                    yield Observation(read(_stats(alive)), attributes | {_POOL: pool})

        return observe

    level = meter.create_observable_up_down_counter
    idle = observed(itemgetter("pool_available"), state="idle")
    used = observed(lambda stats: stats["pool_size"] - stats["pool_available"], state="used")
    level("db.client.connection.count", [idle, used], "{connection}")
    level("db.client.connection.idle.min", [observed(itemgetter("pool_min"))], "{connection}")
    level("db.client.connection.idle.max", [observed(itemgetter("pool_max"))], "{connection}")
    level("db.client.connection.max", [observed(itemgetter("pool_max"))], "{connection}")
    level("db.client.connection.pending_requests", [observed(itemgetter("requests_waiting"))], "{request}")
    errors = observed(itemgetter("requests_errors"))
    meter.create_observable_counter("db.client.connection.timeouts", [errors], "{timeout}")
    level("session_dal.writer.queue.length", [observed(itemgetter("queued"))], "{append}")


def _stats(runner: Any) -> Counter[str]:
    """Return the statistics of the pools of all event loops, added up, and how many appends are queued."""
    stats = Counter(queued=sum(queue.length for queue in list(runner.observer.queues)))
    for pool in runner.source.pools:
        stats.update(pool.get_stats())
    return stats
