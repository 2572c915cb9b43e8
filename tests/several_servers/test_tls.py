"""Encrypted connections with a real certificate, and what a wrong one is told."""

import socket
from contextlib import contextmanager

import psycopg
import pytest
import trustme
from bouncer import through_pgbouncer
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sides import unwrap

import dal

KEEP = "COPY (SELECT {}) TO PROGRAM {}"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def issued(authority):
    """A certificate for the name localhost."""
    return authority.issue_cert("localhost")


@pytest.fixture
def root(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "root.crt")
    return str(tmp_path / "root.crt")


@pytest.fixture(params=["postgres", "pgbouncer"])
def encrypted(request, server, schema, tables, issued):
    """A store's settings for an address that can be spoken to with TLS, by PostgreSQL or by PgBouncer before it."""
    key, certificate = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    if request.param == "pgbouncer":
        tls = {"client_tls_sslmode": "require"}
        tls |= {"client_tls_key_file": "{folder}/key", "client_tls_cert_file": "{folder}/crt"}
        files = {"key": key, "crt": certificate}
        with through_pgbouncer(server, schema, files=files, **tls) as port:
            yield {"port": port, "user": "service", "dbname": "sessions"}, {"pgbouncer": True}
    else:
        with with_tls(server, key, certificate):
            given = conninfo_to_dict(server.conninfo)
            address = {"hostaddr": socket.gethostbyname(given["host"])}
            yield given | address, {"schema": schema}


@contextmanager
def with_tls(server, key, certificate):
    """Turn TLS on for a while."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        built = connection.execute("SELECT setting FROM pg_config WHERE name = 'CONFIGURE'").fetchone()[0]
        if "ssl" not in built:
            pytest.skip(f"{server} is built without TLS")
        for name, text in (("server.key", key), ("server.crt", certificate)):
            program = f'umask 077; printf "%b" "$(cat)" > {name}'
            connection.execute(sql.SQL(KEEP).format(text.decode(), program))
        try:
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET ssl")
            connection.execute("SELECT pg_reload_conf()")


def test_verify_full_works(side, encrypted, root):
    address, options = encrypted
    conninfo = make_conninfo(**{"hostaddr": "127.0.0.1"} | address | {"host": "localhost"})
    conninfo = make_conninfo(conninfo, sslmode="verify-full", sslrootcert=root)
    with side.connect_store(conninfo, **options, prepare_threshold=None) as store:
        assert [store.session("s").append("user", "x").sequence for _ in range(3)] == [0, 1, 2]
    raw = side.connect(conninfo, autocommit=True, prepare_threshold=None)
    assert unwrap(raw).pgconn.ssl_in_use
    raw.close()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sslrootcert": "other"}, "certificate verify failed"),
        ({"host": "db.example.org"}, 'does not match host name "db.example.org"'),
        ({"sslrootcert": "/nowhere/root.crt"}, 'root certificate file "/nowhere/root.crt" does not exist'),
    ],
    ids=["authority", "name", "no authority"],
)
def test_a_wrong_certificate_is_refused_and_told(side, encrypted, root, wrong, told):
    address, options = encrypted
    if wrong.get("sslrootcert") == "other":
        wrong = {"sslrootcert": f"{root}.other"}
        trustme.CA().cert_pem.write_to_path(wrong["sslrootcert"])
    given = {"hostaddr": "127.0.0.1"} | address | {"host": "localhost", "sslrootcert": root} | wrong
    conninfo = make_conninfo(**given, sslmode="verify-full")
    with side.connect_store(conninfo, **options, timeout=1) as store:
        with pytest.raises(dal.ServerUnavailable, match=told) as refused:
            store.session("s").append("user", "x")
    assert not refused.value.outcome_unknown


def test_a_server_without_tls_is_refused_where_it_is_required(side, server, schema, tables):
    with through_pgbouncer(server, schema) as port:
        conninfo = f"postgresql://service@127.0.0.1:{port}/sessions?sslmode=require"
        with side.connect_store(conninfo, pgbouncer=True, timeout=1) as store:
            with pytest.raises(dal.ServerUnavailable, match="server does not support SSL, but SSL was required"):
                store.session("s").append("user", "x")
