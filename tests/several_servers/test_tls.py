"""Encrypted connections: a valid certificate works, and the error says what is wrong with another one."""

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

WRITE_FILE = "COPY (SELECT {}) TO PROGRAM {}"


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
def tls_server(request, server, schema, tables, issued):
    """The address and the options of a TLS connection to PostgreSQL or PgBouncer."""
    key, certificate = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    if request.param == "pgbouncer":
        tls = {"client_tls_sslmode": "require"}
        tls |= {"client_tls_key_file": "{folder}/key", "client_tls_cert_file": "{folder}/crt"}
        files = {"key": key, "crt": certificate}
        with through_pgbouncer(server, schema, files=files, **tls) as port:
            yield {"port": port, "user": "service", "dbname": "sessions"}, {"pgbouncer": True}
    else:
        with with_tls(server, key, certificate):
            parameters = conninfo_to_dict(server.conninfo)
            address = {"hostaddr": socket.gethostbyname(parameters["host"])}
            yield parameters | address, {"schema": schema}


@contextmanager
def with_tls(server, key, certificate):
    """Enable TLS until the block ends."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        built = connection.execute("SELECT setting FROM pg_config WHERE name = 'CONFIGURE'").fetchone()[0]
        if "ssl" not in built:
            pytest.skip(f"{server} is built without TLS")
        for name, text in (("server.key", key), ("server.crt", certificate)):
            program = f'umask 077; printf "%b" "$(cat)" > {name}'
            connection.execute(sql.SQL(WRITE_FILE).format(text.decode(), program))
        try:
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET ssl")
            connection.execute("SELECT pg_reload_conf()")


def test_verify_full_accepts_a_valid_certificate(side, tls_server, root):
    address, options = tls_server
    conninfo = make_conninfo(**{"hostaddr": "127.0.0.1"} | address | {"host": "localhost"})
    conninfo = make_conninfo(conninfo, sslmode="verify-full", sslrootcert=root)
    with side.connect_store(conninfo, **options, prepare_threshold=None) as store:
        assert [store.session("s").append("user", "x").sequence for _ in range(3)] == [0, 1, 2]
    raw = side.connect(conninfo, autocommit=True, prepare_threshold=None)
    assert unwrap(raw).pgconn.ssl_in_use
    raw.close()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"sslrootcert": "other"}, "certificate verify failed"),
        ({"host": "db.example.org"}, 'does not match host name "db.example.org"'),
        ({"sslrootcert": "/nowhere/root.crt"}, 'root certificate file "/nowhere/root.crt" does not exist'),
    ],
    ids=["authority", "name", "no authority"],
)
def test_a_wrong_certificate_is_refused_with_its_reason(side, tls_server, root, override, message):
    address, options = tls_server
    if override.get("sslrootcert") == "other":
        override = {"sslrootcert": f"{root}.other"}
        trustme.CA().cert_pem.write_to_path(override["sslrootcert"])
    parameters = {"hostaddr": "127.0.0.1"} | address | {"host": "localhost", "sslrootcert": root} | override
    conninfo = make_conninfo(**parameters, sslmode="verify-full")
    with side.connect_store(conninfo, **options, timeout=1) as store:
        with pytest.raises(dal.ServerUnavailable, match=message) as refused:
            store.session("s").append("user", "x")
    assert not refused.value.outcome_unknown


def test_a_server_without_tls_is_refused_if_tls_is_required(side, server, schema, tables):
    with through_pgbouncer(server, schema) as port:
        conninfo = f"postgresql://service@127.0.0.1:{port}/sessions?sslmode=require"
        with side.connect_store(conninfo, pgbouncer=True, timeout=1) as store:
            with pytest.raises(dal.ServerUnavailable, match="server does not support SSL, but SSL was required"):
                store.session("s").append("user", "x")
