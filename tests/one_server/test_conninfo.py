"""The connection parameters of a store's own pool, and what the server does about idle clients."""

import socket
import time

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import dal
from dal.conninfo import PoolSettings, with_schema

SETTINGS = {
    "schema": None, "min_size": 1, "max_size": 1, "timeout": 0.5, "idle_timeout": 300, "keepalive": 60,
    "prepare_threshold": None, "pgbouncer": False,
}  # fmt: skip
CLIENT = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
SERVER = {
    "statement_timeout": "500",
    "idle_in_transaction_session_timeout": "300000",
    "tcp_user_timeout": "60000",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "jit": "off",
}


def parameters_of(conninfo="", **settings):
    """Return the parameters for libpq, and the server settings in `options`."""
    parameters = conninfo_to_dict(PoolSettings(conninfo=conninfo, **SETTINGS | settings).complete_conninfo())
    options = parameters.pop("options", "")
    return parameters, dict(one.split("=", 1) for one in options.removeprefix("-c ").split(" -c ")) if options else {}


def test_client_and_server_have_limits_by_default():
    assert parameters_of() == (CLIENT | {"connect_timeout": "2"}, SERVER)


def test_none_disables_a_limit():
    parameters, options = parameters_of(idle_timeout=None, keepalive=None)
    assert parameters == {"connect_timeout": "2"}
    assert options == {"statement_timeout": "500", "jit": "off"}


def test_the_schema_is_the_first_option():
    assert next(iter(parameters_of(schema="agents")[1].items())) == ("search_path", '"agents",pg_temp')


@pytest.mark.parametrize("name", SERVER)
@pytest.mark.parametrize("written", ["-c {}=9", "--{}=9"])
def test_settings_in_options_take_precedence(name, written):
    written = written.format(name if written.startswith("-c") else name.replace("_", "-"))
    complete = PoolSettings(conninfo=make_conninfo(options=written), **SETTINGS).complete_conninfo()
    options = conninfo_to_dict(complete)["options"]
    assert options.startswith(f"{written} -c ")
    assert f"-c {name}=" not in options.removeprefix(written)


@pytest.mark.parametrize("name", [*CLIENT, "connect_timeout"])
def test_parameters_in_the_connection_string_take_precedence(name):
    assert parameters_of(f"{name}=9")[0][name] == "9"


def test_settings_in_the_environment_take_precedence(monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=9 -c work_mem=4MB")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    parameters, options = parameters_of()
    assert "connect_timeout" not in parameters
    assert options == SERVER | {"statement_timeout": "9", "work_mem": "4MB"}
    assert conninfo_to_dict(with_schema("", "agents"))["options"].startswith("-c statement_timeout=9 ")


def test_no_settings_are_sent_through_pgbouncer():
    assert parameters_of(pgbouncer=True) == (CLIENT | {"connect_timeout": "2"}, {})
    with pytest.raises(dal.InvalidInput, match="schema: cannot be sent through PgBouncer"):
        parameters_of(schema="agents", pgbouncer=True)


@pytest.mark.parametrize("seconds", [0, -1, 3_000_000])
@pytest.mark.parametrize("argument", ["idle_timeout", "keepalive"])
def test_an_invalid_time_is_refused(side, argument, seconds):
    with pytest.raises(dal.InvalidInput, match=f"{argument}: must be None, or above 0.*got {seconds}"):
        side.connect_store("dbname=app", **{argument: seconds})


def read_with_pause(pages, pause):
    read = iter(pages)
    next(read)
    pause()
    for _ in read:
        pass


def in_transaction(store, pause):
    with store.transaction() as inside:
        inside.session("s").append("user", "rolled back")
        pause()
        inside.session("s").append("user", "not stored")


def before_commit(store, pause):
    with store.transaction() as inside:
        inside.session("s").append("user", "rolled back")
        pause()


IDLE_USES = {
    "transaction": in_transaction,
    "commit": before_commit,
    "stream": lambda store, pause: read_with_pause(store.session("s").stream(), pause),
    "export": lambda store, pause: read_with_pause(store.export(), pause),
}


@pytest.fixture
def long_session(sync_store):
    """A session of several pages."""
    session = sync_store.session("s")
    session.append_all([dal.NewMessage(role="user", content="x" * 20_000)] * 150)
    return session


@pytest.mark.parametrize("use_with_pause", IDLE_USES.values(), ids=IDLE_USES)
def test_the_error_of_an_idle_timeout_names_the_setting(side, server, schema, long_session, use_with_pause):
    with side.connect_store(server.conninfo, schema=schema, idle_timeout=0.2) as store:
        with pytest.raises(dal.ServerUnavailable, match="longer idle_timeout.*25P03") as error:
            use_with_pause(store, lambda: time.sleep(0.5))
        assert not error.value.outcome_unknown
        assert store.session("s").append("user", "next").sequence == 150


def test_an_append_succeeds_after_idle_session_timeout_closed_the_connection(side, server, schema, tables):
    conninfo = make_conninfo(server.conninfo, options="-c idle_session_timeout=200")
    with side.connect_store(conninfo, schema=schema, max_size=1) as store:
        store.session("s").append("user", "x")
        time.sleep(0.5)
        assert store.session("s").append("user", "y").sequence == 1


def test_an_attempt_to_connect_that_is_too_late_leaves_no_open_socket(side):
    """The pool's log record keeps the error, and so does the store for a while; neither may keep the socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        conninfo = f"host={host} port={port} user=u dbname=d sslmode=disable gssencmode=disable connect_timeout=2"
        with side.connect_store(conninfo, timeout=2.5) as store:
            with pytest.raises(dal.ServerUnavailable):
                store.check_schema()
            with listener.accept()[0] as client:
                client.settimeout(1)
                while client.recv(1024):  # The startup message, and then the end.
                    pass
