"""OpenTelemetry: a span for each operation of a store, by the semantic conventions for databases.

pip install 'session-dal[otel]'

store = dal.SessionStore.connect(…, hook=dal.otel.spans())
"""

from __future__ import annotations

from time import time_ns

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

import dal
from dal.watching import Hook, Ran

_QUERIES = frozenset(dal.queries)


def spans(provider: TracerProvider | None = None) -> Hook:
    """Make a hook that makes spans, children of the span that is current where the operation is called.

    They have the statement, which is its file's and holds nothing of what is stored, and no parameters.
    """
    tracer = trace.get_tracer("dal", tracer_provider=provider, schema_url="https://opentelemetry.io/schemas/1.33.0")

    def make(ran: Ran) -> None:
        ended = time_ns()
        span = tracer.start_span(
            ran.query,
            kind=SpanKind.CLIENT,
            attributes={key: value for key, value in _attributes(ran).items() if value is not None},
            start_time=ended - int(ran.seconds * 1e9),
        )
        if ran.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    return make


def _attributes(ran: Ran) -> dict[str, str | int | None]:
    collection, _, operation = ran.query.partition(".")
    return {
        "db.system.name": "postgresql",
        "db.namespace": ran.database,
        "db.collection.name": collection,
        "db.operation.name": operation,
        "db.operation.batch.size": ran.batch_size if (ran.batch_size or 0) > 1 else None,
        "db.query.summary": ran.query,
        "db.query.text": dal.queries[ran.query].sql.decode() if ran.query in _QUERIES else None,
        "db.response.returned_rows": ran.rows,
        "db.response.status_code": getattr(ran.error, "sqlstate", None),
        "error.type": None if ran.error is None else type(ran.error).__name__,
        "server.address": ran.host,
        "server.port": ran.port,
        "session_dal.retries": ran.retries or None,
    }
