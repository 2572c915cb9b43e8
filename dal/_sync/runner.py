# Generated from dal/_async/runner.py by .ci/async_to_sync.py: change that file, and run it.
"""The runner of the query files: the only place that sends the library's statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.errors import FeatureNotSupported
from psycopg.pq import TransactionStatus

from dal._sync.connection import forget_statements, set_deadline, settings_kept
from dal._sync.queries import Query, queries
from dal._sync.schema import check, compare
from dal._sync.sources import Single, Source, Sticky
from dal.driver_errors import TooLate, is_outdated, redact
from dal.errors import DalError, ServerUnavailable, StoreClosed
from dal.observe import Observer, server_of, tried_again
from dal.processes import interrupts, not_in_child, process
from dal.retries import Attempts, Failure, classify
from dal.schema.check import SchemaCheck, require_server
from dal.sql.loader import Parameters

T = TypeVar("T")

_CHECK: Query = queries.schema.check


@dataclass(eq=False)
class Runner:
    """Runs query files on connections of a source, and retries where dal.retries says so."""

    source: Source
    schema: SchemaCheck
    retries: int
    timeout: float | None
    """Seconds for a call, with its retries."""
    observer: Observer

    def close(self) -> None:
        """Refuse further calls, and close the store's own pool."""
        self.source.ended = "this store was closed; make a new one"
        self.source.close()

    def on(self, connection: Connection[Any]) -> Runner:
        """Return a runner on a connection of the caller's."""
        return replace(self, source=Single(connection))

    def deadline(self) -> float | None:
        """Return the deadline of a call that begins now."""
        return None if self.timeout is None else monotonic() + self.timeout

    def attempts(
        self, deadline: float | None = None, *, unknown: bool = False, source: Sticky | None = None
    ) -> Attempts:
        """Return the attempts of a call. `unknown` says that an earlier batch may have committed it."""
        if deadline is None and self.timeout is not None:
            deadline = monotonic() + self.timeout
        attempts = Attempts(self.retries, deadline)
        attempts.unknown, attempts.source, attempts.began = unknown, source, monotonic()
        return attempts

    def attempts_after(self, attempts: Attempts) -> Attempts:
        """Return the attempts of another statement of the same call.

        If the reply to the first one was lost, the outcome of the call is unknown, also if this one fails.
        """
        following = Attempts(self.retries, attempts.deadline)
        following.unknown, following.began = attempts.unknown, monotonic()
        return following

    def run(self, query: Query, /, **parameters: Any) -> Any:
        """Run a query file, and call the hook."""
        return self.send(query, parameters)

    def send(
        self,
        query: Query,
        parameters: Parameters,
        attempts: Attempts | None = None,
        run: Callable[[Query, Any, Attempts], Any] | None = None,
    ) -> Any:
        """Run a query file with these parameters, and call the hook; `run` may run it elsewhere."""
        attempts = attempts or Attempts(self.retries, None if self.timeout is None else self.deadline())
        run = run or self.run_with_retries
        if not self.observer:
            return run(query, parameters, attempts)
        attempts.is_observed, attempts.began = True, attempts.began or monotonic()
        try:
            rows = run(query, parameters, attempts)
        except BaseException as error:
            self.observer.ended(query.name, query.named(parameters), attempts, None, error)
            raise
        count = len(rows) if query.many else int(rows is not None)
        self.observer.ended(query.name, query.named(parameters), attempts, count, None)
        return rows

    def check(self) -> None:
        """Check the tables, even if they were checked before."""
        self.send(_CHECK, {})

    def run_with_retries(  # noqa: C901, PLR0912 - another call would cost each append more
        self, query: Query, parameters: Parameters, attempts: Attempts
    ) -> Any:
        """Run a query file, and do not call the hook."""
        while True:
            # As `connection` does, without the cost of its generator (bench/test_overhead.py).
            sent = succeeded = is_back = False
            try:
                if self.source.ended is not None:
                    raise StoreClosed(self.source.ended)  # noqa: TRY301 - it is a reason like any other
                asked, source = monotonic() if attempts.is_observed else 0.0, attempts.source or self.source
                connection = source.take(attempts.deadline)
                try:
                    if attempts.is_observed:
                        attempts.waited += monotonic() - asked
                        attempts.server = server_of(connection)
                    if attempts.deadline is not None:
                        set_deadline(connection, attempts.deadline)
                    if query is _CHECK:
                        require_server(connection)
                    elif self.schema.is_due(connection):
                        check(self.schema, connection)
                    if self.schema.distributed:
                        query = query.distributed
                    sent = True
                    rows = query.send(connection, parameters, self.source.spare)
                    if query is _CHECK:
                        compare(self.schema, rows, connection)
                    succeeded = True
                except BaseException as error:
                    if interrupts(error):
                        self.source.discard(connection)
                    elif is_outdated(error):
                        forget_statements(connection)
                    raise
                finally:
                    source.give_back(connection, commit=succeeded)
                    is_back = True
                return rows  # noqa: TRY300 - an else block would be farther away
            except psycopg.Error as error:
                if self._is_distributed_since(error):
                    continue
                pause = self._pause_after(error, query.name, attempts, sent=sent, repeatable=query.repeatable)
            except BaseException as error:
                if interrupts(error) and not is_back:
                    self.source.interrupted(error)
                raise
            sleep(pause)

    def _is_distributed_since(self, error: psycopg.Error) -> bool:
        """Return whether Citus refused a statement because the tables were distributed after the store's last check."""
        if self.schema.distributed or not isinstance(error, FeatureNotSupported) or not self.source.is_pooled:
            return False
        self.schema.forget()
        self.find_layout()
        return self.schema.distributed

    def find_layout(self) -> None:
        """Find out whether the tables are distributed, unless a check did. If it fails, the next statement says why."""
        if self.schema.passed:
            return
        with suppress(DalError, psycopg.Error), self.connection() as connection:
            check(self.schema, connection)

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """Take a connection for a block; a pool's connection commits or rolls back at its end."""
        if self.source.ended is not None:
            raise StoreClosed(self.source.ended)
        succeeded = is_back = False
        try:
            connection = self.source.take(self.deadline())
            begun_in = process()
            with not_in_child(connection):
                try:
                    yield connection
                    succeeded = True
                except BaseException as error:
                    if interrupts(error):
                        self.source.discard(connection)
                    raise
                finally:
                    if process() == begun_in:
                        self.source.give_back(connection, commit=succeeded)
                    is_back = True
        except BaseException as error:
            if interrupts(error) and not is_back:
                self.source.interrupted(error)
            raise

    @contextmanager
    def lend(self) -> Iterator[Connection[Any]]:
        """Lend a connection for the caller's own SQL; its errors pass unchanged, and its settings are restored."""
        lent = False
        try:
            with (
                self.connection() as connection,
                settings_kept(connection) if self.source.is_pooled else nullcontext(),
            ):
                lent = True
                yield connection
        except psycopg.Error as error:
            if lent and not isinstance(error, TooLate):
                raise
            raise self.explain(error, "connection", sent=lent) from error

    @contextmanager
    def transaction(self) -> Iterator[Runner]:
        """Begin a transaction, with retries, and yield a runner in it. Errors of the block pass unchanged."""
        in_block = False
        try:
            with ExitStack() as stack:
                connection = self._begun("transaction", lambda: stack.enter_context(self._transaction()))
                runner = self.on(connection)
                in_block = True
                try:
                    yield runner
                    in_block = False
                finally:
                    runner.source.ended = "this transaction has ended; use the store itself, or a new transaction"
        except psycopg.Error as error:
            if in_block:
                raise
            raise self.explain(error, "transaction", sent=True) from error

    @contextmanager
    def _transaction(self) -> Iterator[Connection[Any]]:
        with self.connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def exclusive_transaction(
        self, what: str, isolation: IsolationLevel, *, read_only: bool = False
    ) -> Iterator[tuple[Connection[Any], Runner]]:
        """Begin a transaction that no other call joins; yield its connection, and a runner on it.

        The store's `timeout` applies to each statement, not to the transaction.
        """
        try:
            with ExitStack() as stack:
                connection = self._begun(
                    what, lambda: stack.enter_context(self._isolated(what, isolation, read_only=read_only))
                )
                yield connection, self.on(connection)
        except psycopg.Error as error:  # It commits in its own block.
            raise self.explain(error, what, sent=False) from error

    @contextmanager
    def _isolated(self, what: str, isolation: IsolationLevel, *, read_only: bool) -> Iterator[Connection[Any]]:
        """Open a transaction on a connection of its own, whose settings are restored after it."""
        with self.connection() as connection:
            self.source.occupy(what)
            before = connection.isolation_level, connection.read_only
            try:
                connection.set_isolation_level(isolation)
                connection.set_read_only(read_only)
                with connection.transaction():
                    if self.schema.is_due(connection):
                        check(self.schema, connection)
                    yield connection
            finally:
                self.source.release()
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    connection.set_isolation_level(before[0])
                    connection.set_read_only(before[1])
                else:  # An interrupt left a statement running.
                    connection.close()

    def _begun(self, what: str, begin: Callable[[], T]) -> T:
        """Begin a transaction, with retries."""
        attempts = self.attempts()
        while True:
            try:
                return begin()
            except psycopg.Error as error:
                pause = self._pause_after(error, what, attempts, sent=False)
            sleep(pause)

    def explain(self, error: psycopg.Error, query: str, *, sent: bool, unknown: bool = False) -> DalError:
        """Translate an error of the driver; `unknown` says that an earlier attempt may have been committed.

        The driver's error becomes the cause, without the parts that may quote stored content.
        """
        explained = self.source.explain(error, query)
        may_be_done = sent and classify(error) is Failure.UNKNOWN
        redact(error)
        if unknown and not isinstance(explained, ServerUnavailable):
            message = f"the connection was lost, and then {explained.args[0]}"
            explained = ServerUnavailable(message, query=query, sqlstate=explained.sqlstate)
        if isinstance(explained, ServerUnavailable):
            explained.outcome_unknown = unknown or may_be_done
        return explained

    def _pause_after(
        self, error: psycopg.Error, query: str, attempts: Attempts, *, sent: bool, repeatable: bool = True
    ) -> float:
        """Return the seconds to wait before the next attempt; raise the translated error if there is none."""
        failure = classify(error)
        explained = self.explain(error, query, sent=sent, unknown=attempts.unknown)
        attempts.unknown = attempts.unknown or (sent and failure is Failure.UNKNOWN)
        safe = repeatable or not sent or failure is not Failure.UNKNOWN
        if safe and failure is not Failure.REFUSED and self.source.may_repeat(failure):
            pause = attempts.pause()
            if pause is not None:
                tried_again(query, error, pause)
                return pause
        raise explained from error
