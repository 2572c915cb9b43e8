"""A client stops, is killed or vanishes in the middle of a transaction, and so holds a session's row."""

import os
import socket

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import dal
from faults.probe import Focus
from faults.holder import Dies, GoesSilent, Stops, Vanishes, may_repair
from faults.proxy import Proxy


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(120, 1800)


@pytest.fixture
def proxy(cluster):
    with Proxy(cluster.conninfo) as proxy:
        yield proxy


def test_a_client_is_lost_in_a_transaction(crew, proxy, scale):
    ways = [Stops, Dies, GoesSilent, *([Vanishes] if may_repair() else [])]
    conninfo = make_conninfo(crew.conninfo, application_name="focus")
    with Focus(crew, "a client stops, dies or vanishes in a transaction", timeout=10.0) as focus:
        with crew.harness() as connection, dal.SessionStore.connect(conninfo, timeout=10.0) as store:
            for way in ways * scale(1, 10):
                call = focus.do(store, focus.call())
                with way(crew, proxy, call.session) as holder:
                    with pytest.raises(psycopg.errors.LockNotAvailable):
                        connection.execute(
                            "SELECT FROM sessions WHERE session_id = %s FOR UPDATE NOWAIT", [call.session]
                        )
                    holder.lose()
                    focus.once(store, waiting := focus.call())
                    assert waiting.error is None, way.__doc__
                focus.injected += 1
    if Vanishes not in ways:
        pytest.skip("all but the client that vanishes: a socket ends without a word on Linux, with CAP_NET_ADMIN")


def test_both_sides_have_the_settings(cluster):
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
