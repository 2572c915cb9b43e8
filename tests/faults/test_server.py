"""The server is killed, stopped, frozen, made read-only, and runs out of connections."""

import random
import signal
from contextlib import ExitStack, suppress

import psycopg
import pytest

import dal
from dal.retries import RETRIES
from faults.cluster import wait_until
from faults.probe import Probe


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 1800)


def test_writers_recover_after_kill_9_of_the_server(cluster, fleet, scale):
    for _ in range(scale(1, 10)):
        fleet.wait_until_all_write("before")
        cluster.kill()
        cluster.start()
        fleet.check_recovery("kill -9 of the server", 1, least=scale(10, 500))


def test_writers_recover_after_kill_9_of_a_backend(cluster, fleet, scale):
    for _ in range(scale(1, 10)):
        with cluster.connect() as witness:
            [(pid,)] = witness.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'w%' ORDER BY random() LIMIT 1"
            ).fetchall()
            cluster.signal(signal.SIGKILL, [one for one in cluster.processes() if one.pid == pid])
            # The witness answers until the postmaster notices the kill, and ends all other backends.
            wait_until(lambda witness=witness: is_closed(witness), "the other backends end after one was killed")
        cluster.wait_until_answering()
        fleet.check_recovery("kill -9 of a backend, and crash recovery", 1, least=scale(10, 500))


def is_closed(connection):
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_writers_recover_after_backends_are_terminated(cluster, fleet, scale):
    for _ in range(scale(2, 10)):
        killed = 0
        with cluster.connect() as connection:
            for _ in range(scale(5, 10)):
                killed += connection.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'w%'"
                ).fetchone()[0]
                fleet.wait_until_all_write("a backend was terminated")
        fleet.check_recovery("pg_terminate_backend", killed, least=scale(10, 500))


def test_an_append_succeeds_after_all_connections_of_its_pool_died(fleet, scale):
    """The pool has more dead connections than a call has attempts, so a call must not try them one by one."""
    size = RETRIES + 5
    settings = fleet.settings("probe") | {"min_size": size, "max_size": size, "timeout": 5.0}
    of_probe = "FROM pg_stat_activity WHERE application_name = 'probe'"
    with Probe(fleet, "all connections of a pool terminated", timeout=5.0) as probe:
        with dal.SessionStore.connect(**settings) as store, fleet.harness() as connection:

            def pool_is_full():
                return connection.execute(f"SELECT count(*) {of_probe}").fetchone() == (size,)

            for _ in range(scale(1, 10)):
                probe.retry(store, probe.call())
                wait_until(pool_is_full, "the pool is full")
                probe.injected += len(
                    connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {of_probe}").fetchall()
                )
                call = probe.call()
                probe.send(store, call)
                assert call.error is None


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_writers_recover_after_a_restart(cluster, fleet, scale, mode):
    for _ in range(scale(1, 10)):
        cluster.stop(mode)
        cluster.start()
        fleet.check_recovery(f"{mode} shutdown, and start", 1, least=scale(10, 500))


def test_writers_recover_after_an_outage_longer_than_the_deadline(cluster, fleet, scale):
    for _ in range(scale(1, 10)):
        cluster.stop("immediate")
        fleet.wait_until_all_fail("down")
        cluster.start()
        fleet.check_recovery("down for longer than the deadline", 1, least=scale(10, 500))


def test_writers_recover_after_the_server_was_frozen(cluster, fleet, scale):
    for _ in range(scale(1, 10)):
        cluster.freeze()
        try:
            fleet.wait_until_all_fail("frozen")
        finally:
            cluster.thaw()
        fleet.check_recovery("SIGSTOP of the server, longer than the deadline", 1, least=scale(10, 500))
    for _ in range(scale(2, 10)):
        cluster.freeze()
        with suppress(TimeoutError):
            signal.sigtimedwait([], random.uniform(0.05, 0.5))  # The duration of the fault.
        cluster.thaw()
        fleet.check_recovery("SIGSTOP of the server, thawed before the deadline", 1, least=scale(10, 500))


def test_writers_recover_after_the_server_was_read_only(cluster, fleet, scale):
    for _ in range(scale(1, 10)):
        cluster.set(default_transaction_read_only="on")
        try:
            fleet.wait_until_all_fail("read-only")
        finally:
            cluster.set(default_transaction_read_only="off")
        fleet.check_recovery("default_transaction_read_only", 1, least=scale(10, 500))


def test_writers_recover_after_max_connections_was_reached(cluster, fleet, scale):
    for _ in range(scale(1, 10)):
        with ExitStack() as connections:
            harness = connections.enter_context(cluster.connect())

            def fill():
                with suppress(psycopg.OperationalError):
                    while True:
                        connections.enter_context(cluster.connect())

            def full():
                # Take each free connection before a writer gets it.
                fill()
                harness.execute(  # noqa: B023
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'w%'"
                )
                fill()
                return harness.execute(  # noqa: B023
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'w%'"
                ).fetchone() == (0,)

            wait_until(full, "no writer has a connection")
            # A connection slot may become free only after the backend has left pg_stat_activity.
            fleet.wait_until_all_fail("max_connections", hold=full)
        fleet.check_recovery("max_connections reached", 1, least=scale(10, 500))


def test_other_writers_continue_after_a_writing_process_is_killed(fleet, scale):
    for n in range(scale(2, 20)):
        fleet.wait_until_all_write("before")
        gone = fleet.kill_process(n % 2)
        with fleet.harness() as connection:
            fleet.wait_until_disconnected(connection, gone)
        fleet.check_recovery("SIGKILL of a writing process", 1, least=scale(10, 300))
