"""A client that has locked a session's row stops, is killed, or vanishes from the network."""

import os
import socket

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import dal
from faults.holder import KilledClient, SilentClient, StoppedClient, VanishedClient, has_tcp_repair
from faults.probe import Probe
from faults.proxy import Proxy


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(120, 1800)


@pytest.fixture
def proxy(cluster):
    with Proxy(cluster.conninfo) as proxy:
        yield proxy


def test_appends_succeed_after_a_client_is_lost_in_a_transaction(fleet, proxy, scale):
    clients = [StoppedClient, KilledClient, SilentClient, *([VanishedClient] if has_tcp_repair() else [])]
    conninfo = make_conninfo(fleet.conninfo, application_name="probe")
    with Probe(fleet, "a client stops, dies or vanishes in a transaction", timeout=10.0) as probe:
        with fleet.harness() as connection, dal.SessionStore.connect(conninfo, timeout=10.0) as store:
            for client in clients * scale(1, 10):
                call = probe.retry(store, probe.call())
                with client(fleet, proxy, call.session) as holder:
                    with pytest.raises(psycopg.errors.LockNotAvailable):
                        connection.execute(
                            "SELECT FROM sessions WHERE session_id = %s FOR UPDATE NOWAIT", [call.session]
                        )
                    holder.lose()
                    probe.send(store, waiting := probe.call())
                    assert waiting.error is None, client.__doc__
                probe.injected += 1
    if VanishedClient not in clients:
        pytest.skip("vanished clients not tested: TCP_REPAIR needs Linux and CAP_NET_ADMIN")


def test_keepalive_and_idle_timeout_are_set_on_both_ends(cluster):
    with dal.SessionStore.connect(cluster.conninfo, idle_timeout=7, keepalive=12) as store:
        with store._backend.runner.connection() as connection:
            with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
                assert [wire.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [6, 2, 3, 12_000]
            shown = connection.execute(
                "SELECT current_setting(name) FROM unnest(ARRAY['idle_in_transaction_session_timeout', "
                "'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout']) name"
            )
            assert [value for (value,) in shown.fetchall()] == ["7s", "6", "2", "3", "12000"]
