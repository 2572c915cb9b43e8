"""What a store's own pool sends with its connections, and what the server does about a client that says nothing."""

import time

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import dal
from dal.conninfo import for_pool, with_schema

SETTINGS = {"schema": None, "timeout": 0.5, "idle_timeout": 300, "keepalive": 60, "pgbouncer": False}
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
}


def sent(conninfo="", **given):
    """What libpq is told, and what the server is, in its options."""
    told = conninfo_to_dict(for_pool(conninfo, **SETTINGS | given))
    options = told.pop("options", "")
    return told, dict(one.split("=", 1) for one in options.removeprefix("-c ").split(" -c ")) if options else {}


def test_the_client_and_the_server_have_limits_that_nobody_had_to_ask_for():
    assert sent() == (CLIENT | {"connect_timeout": "2"}, SERVER)


def test_none_sends_nothing():
    told, options = sent(idle_timeout=None, keepalive=None)
    assert told == {"connect_timeout": "2"}
    assert options == {"statement_timeout": "500"}


def test_a_schema_goes_first():
    assert next(iter(sent(schema="agents")[1].items())) == ("search_path", '"agents",pg_temp')


@pytest.mark.parametrize("name", SERVER)
@pytest.mark.parametrize("written", ["-c {}=9", "--{}=9"])
def test_a_setting_in_the_options_wins(name, written):
    written = written.format(name if written.startswith("-c") else name.replace("_", "-"))
    options = conninfo_to_dict(for_pool(make_conninfo(options=written), **SETTINGS))["options"]
    assert options.startswith(f"{written} -c ")
    assert f"-c {name}=" not in options.removeprefix(written)


@pytest.mark.parametrize("name", [*CLIENT, "connect_timeout"])
def test_a_parameter_in_the_string_wins(name):
    assert sent(f"{name}=9")[0][name] == "9"


def test_a_setting_in_the_environment_wins(monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=9 -c work_mem=4MB")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    told, options = sent()
    assert "connect_timeout" not in told
    assert options == SERVER | {"statement_timeout": "9", "work_mem": "4MB"}
    assert conninfo_to_dict(with_schema("", "agents"))["options"].startswith("-c statement_timeout=9 ")


def test_pgbouncer_is_sent_no_settings():
    assert sent(pgbouncer=True) == (CLIENT | {"connect_timeout": "2"}, {})
    with pytest.raises(dal.InvalidInput, match="schema: cannot be sent through PgBouncer"):
        sent(schema="agents", pgbouncer=True)


@pytest.mark.parametrize("seconds", [0, -1, 3_000_000])
@pytest.mark.parametrize("argument", ["idle_timeout", "keepalive"])
def test_an_impossible_time_is_refused(side, argument, seconds):
    with pytest.raises(dal.InvalidInput, match=f"{argument}: must be None, or above 0.*got {seconds}"):
        side.connect_store("dbname=app", **{argument: seconds})


def slowly(pages, pause):
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


def to_the_end_of_a_transaction(store, pause):
    with store.transaction() as inside:
        inside.session("s").append("user", "rolled back")
        pause()


IDLING = {
    "transaction": in_transaction,
    "commit": to_the_end_of_a_transaction,
    "stream": lambda store, pause: slowly(store.session("s").stream(), pause),
    "export": lambda store, pause: slowly(store.export(), pause),
}


@pytest.fixture
def long(sync_store):
    """A session of several pages."""
    session = sync_store.session("s")
    session.append_all([dal.NewMessage(role="user", content="x" * 20_000)] * 150)
    return session


@pytest.mark.parametrize("idle", IDLING.values(), ids=IDLING)
def test_a_client_that_says_nothing_for_too_long_hears_which_setting_it_was(side, server, schema, long, idle):
    with side.connect_store(server.conninfo, schema=schema, idle_timeout=0.2) as store:
        with pytest.raises(dal.ServerUnavailable, match="longer idle_timeout.*25P03") as ended:
            idle(store, lambda: time.sleep(0.5))
        assert not ended.value.outcome_unknown
        assert store.session("s").append("user", "next").sequence == 150


def test_a_session_that_the_server_ended_while_nobody_used_it_costs_no_append(side, server, schema, tables):
    conninfo = make_conninfo(server.conninfo, options="-c idle_session_timeout=200")
    with side.connect_store(conninfo, schema=schema, max_size=1) as store:
        store.session("s").append("user", "x")
        time.sleep(0.5)
        assert store.session("s").append("user", "y").sequence == 1
