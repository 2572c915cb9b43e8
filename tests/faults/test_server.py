"""The server is killed, stopped, frozen, told to write nothing, and runs out of connections."""

import random
import signal
from contextlib import ExitStack, suppress

import psycopg
import pytest

import dal
from dal.retries import RETRIES
from faults.cluster import wait_until
from faults.probe import Focus


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 1800)


def test_kill_9_of_the_whole_server(cluster, crew, scale):
    for _ in range(scale(1, 10)):
        crew.all_write("before")
        cluster.kill()
        cluster.start()
        crew.after("kill -9 of the server", 1, least=scale(10, 500))


def test_kill_9_of_a_single_backend(cluster, crew, scale):
    for _ in range(scale(1, 10)):
        with cluster.connect() as witness:
            [(pid,)] = witness.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'w%' ORDER BY random() LIMIT 1"
            ).fetchall()
            cluster.signal(signal.SIGKILL, [one for one in cluster.processes() if one.pid == pid])
            # It answers until the postmaster has seen it, and ends all others.
            wait_until(lambda witness=witness: is_lost(witness), "a backend was killed: the others end")
        cluster.wait_until_it_answers()
        crew.after("kill -9 of a backend, and crash recovery", 1, least=scale(10, 500))


def is_lost(connection):
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_backends_are_terminated(cluster, crew, scale):
    for _ in range(scale(2, 10)):
        killed = 0
        with cluster.connect() as connection:
            for _ in range(scale(5, 10)):
                killed += connection.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'w%'"
                ).fetchone()[0]
                crew.all_write("a backend was terminated")
        crew.after("pg_terminate_backend", killed, least=scale(10, 500))


def test_a_whole_pool_dies(crew, scale):
    """More connections than an operation has attempts: those that are left are not tried one after another."""
    size = RETRIES + 5
    settings = crew.settings("focus") | {"min_size": size, "max_size": size, "timeout": 5.0}
    of_focus = "FROM pg_stat_activity WHERE application_name = 'focus'"
    with Focus(crew, "all connections of a pool terminated", timeout=5.0) as focus:
        with dal.SessionStore.connect(**settings) as store, crew.harness() as connection:

            def all_are_there():
                return connection.execute(f"SELECT count(*) {of_focus}").fetchone() == (size,)

            for _ in range(scale(1, 10)):
                focus.do(store, focus.call())
                wait_until(all_are_there, "the pool is full")
                focus.injected += len(
                    connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {of_focus}").fetchall()
                )
                call = focus.call()
                focus.once(store, call)
                assert call.error is None


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart(cluster, crew, scale, mode):
    for _ in range(scale(1, 10)):
        cluster.stop(mode)
        cluster.start()
        crew.after(f"{mode} shutdown, and start", 1, least=scale(10, 500))


def test_the_server_is_down_for_longer_than_the_deadline(cluster, crew, scale):
    for _ in range(scale(1, 10)):
        cluster.stop("immediate")
        crew.all_are_refused("down")
        cluster.start()
        crew.after("down for longer than the deadline", 1, least=scale(10, 500))


def test_the_server_freezes(cluster, crew, scale):
    for _ in range(scale(1, 10)):
        cluster.freeze()
        try:
            crew.all_are_refused("frozen")
        finally:
            cluster.thaw()
        crew.after("SIGSTOP of the server, longer than the deadline", 1, least=scale(10, 500))
    for _ in range(scale(2, 10)):
        cluster.freeze()
        with suppress(TimeoutError):
            signal.sigtimedwait([], random.uniform(0.05, 0.5))  # The fault lasts so long.
        cluster.thaw()
        crew.after("SIGSTOP of the server, thawed before the deadline", 1, least=scale(10, 500))


def test_the_server_writes_nothing_for_a_while(cluster, crew, scale):
    for _ in range(scale(1, 10)):
        cluster.set(default_transaction_read_only="on")
        try:
            crew.all_are_refused("read-only")
        finally:
            cluster.set(default_transaction_read_only="off")
        crew.after("default_transaction_read_only", 1, least=scale(10, 500))


def test_max_connections(cluster, crew, scale):
    for _ in range(scale(1, 10)):
        with ExitStack() as all_of_them:
            harness = all_of_them.enter_context(cluster.connect())

            def fill():
                with suppress(psycopg.OperationalError):
                    while True:
                        all_of_them.enter_context(cluster.connect())

            def full():
                # Each that falls free is taken before a writer can have it.
                fill()
                harness.execute(  # noqa: B023
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'w%'"
                )
                fill()
                return harness.execute(  # noqa: B023
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'w%'"
                ).fetchone() == (0,)

            wait_until(full, "no writer has a connection")
            # A connection's place may fall free after it is gone from the list.
            crew.all_are_refused("max_connections", hold=full)
        crew.after("max_connections reached", 1, least=scale(10, 500))


def test_writers_processes_are_killed(crew, scale):
    for n in range(scale(2, 20)):
        crew.all_write("before")
        gone = crew.kill_a_process(n % 2)
        with crew.harness() as connection:
            crew.nobody_is_left(connection, gone)
        crew.after("SIGKILL of a writing process", 1, least=scale(10, 300))
