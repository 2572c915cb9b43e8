"""The distributed layout on a Citus cluster, and the errors on a server without Citus."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from citus_cluster import drop
from program import run
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sides import unwrap

import dal
from dal.schema import distributed, drift
from dal.schema.distributed import functions
from dal.schema.distributed.hashing import hash_text
from dal.sql import DISTRIBUTED
from dal.sql.loader import QueryFileError, load

FILES = sorted((DISTRIBUTED / "functions").glob("*.sql"))
QUERY_FILES = sorted((DISTRIBUTED / "queries").glob("*/*.sql"))


@pytest.fixture
def citus(server):
    if server.kind != "citus":
        pytest.skip("needs --postgres=citus")


@pytest.fixture
def no_citus(server):
    if server.kind == "citus":
        pytest.skip("needs a server without Citus")


@pytest.fixture
def empty(side, server, schema):
    """A store whose schema does not exist yet."""
    with side.connect_store(server.conninfo, schema=schema) as store:
        yield store


def test_without_citus_the_error_says_what_is_missing(no_citus, empty, connection):
    with pytest.raises(dal.SchemaMismatch, match=r'Citus is not installed in database "\w+"\. Add citus to shared_pre'):
        empty.apply_schema(distributed=True)
    assert connection.execute("SELECT FROM sessions").fetchall() == []


@pytest.mark.parametrize("shards", [0, 64_001])
def test_the_number_of_shards_has_limits(no_citus, empty, shards):
    with pytest.raises(dal.InvalidInput, match="shards: "):
        empty.apply_schema(distributed=True, shards=shards)


def test_tables_without_citus_are_not_distributed(no_citus, store):
    store.check_schema()
    backend = getattr(store, "inner", store)._backend
    assert backend.runner.schema.distributed is False


USE = """
import sys, dal
with dal.SessionStore.connect(sys.argv[1], schema=sys.argv[2]) as store:
    store.session("s").append("user", "x")
    list(store.export())
print(dal.queries.messages.append._second_forms._forms)
"""


def test_a_server_without_citus_loads_no_second_forms(no_citus, server, schema, tables):
    done = subprocess.run(
        [sys.executable, "-c", USE, server.conninfo, schema], capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_function_is_documented_and_named_as_its_file(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- ")
    assert re.findall(r"^CREATE OR REPLACE FUNCTION (\w+)", text, re.MULTILINE) == [f"dal_{path.stem}"]
    assert text.count("$$") == 2
    assert "search_path" in text, "without a search_path, the function does not find the tables on a worker"


@pytest.mark.parametrize("path", QUERY_FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_second_form_has_the_header_and_the_result_of_the_first(path):
    name = f"{path.parent.name}.{path.stem}"
    one = dal.queries[name]
    assert one.distributed.path == path
    assert (one.distributed.name, one.distributed.record) == (one.name, one.record)
    assert dal.async_queries[name].distributed.sql == one.distributed.sql
    other = path.read_text(encoding="utf-8")
    assert other.splitlines()[0] == one.path.read_text(encoding="utf-8").splitlines()[0]


def test_a_query_has_one_form_unless_it_has_a_second_file():
    second = {f"{path.parent.name}.{path.stem}" for path in QUERY_FILES}
    for name in dal.queries:
        assert (dal.queries[name].distributed is not dal.queries[name]) == (name in second)


def test_a_second_form_with_other_parameters_is_refused(tmp_path):
    for folder, parameters in (("plain", "session_id"), ("other", "message_id")):
        path = tmp_path / folder / "sessions/get.sql"
        path.parent.mkdir(parents=True)
        path.write_text(f"-- name: get({parameters})^\n-- Read.\nSELECT :{parameters}::text AS x;\n", encoding="utf-8")
    queries = load(tmp_path / "plain", type(dal.queries.sessions.get), tmp_path / "other")
    with pytest.raises(QueryFileError, match=r"get\.sql: its parameters and operator must be those of"):
        _ = queries.sessions.get.distributed


def test_the_hash_is_that_of_the_server(connection):
    texts = ["", "é€😀", *("abcdefghijklmnopqrstuvwxyz"[:n] for n in range(26)), "\x7f" * 255, *map(str, range(300))]
    found = connection.execute("SELECT hashtext(u) FROM unnest(%s::text[]) AS u", [texts]).fetchall()
    assert [hash_text(text) for text in texts] == [number for (number,) in found]


def test_the_layout_is_read_by_the_first_check(citus, tables, store):
    store.check_schema()
    backend = getattr(store, "inner", store)._backend
    assert backend.runner.schema.distributed is True


def test_applying_it_twice_is_harmless(citus, empty, connection):
    empty.apply_schema(distributed=True, shards=4)
    before = drift.errors(dal.queries.schema.check(connection))
    empty.session("s").append("user", "x")
    empty.apply_schema(distributed=True, shards=4)
    empty.apply_schema()
    assert empty.session("s").record().message_count == 1
    assert before == []


def test_shards_have_the_settings_of_the_planner(citus, empty, server, schema):
    empty.apply_schema(distributed=True, shards=4)
    with psycopg.connect(server.conninfo, autocommit=True, options=f"-c search_path={schema}") as connection:
        found = connection.execute(
            "SELECT result FROM run_command_on_shards('messages', $$ SELECT concat(attstattarget, attoptions) "
            "FROM pg_attribute WHERE attrelid = '%s'::regclass AND attname = 'session_id' $$)"
        ).fetchall()
    assert len(found) == 4
    assert all(re.fullmatch(r"1\{.*n_distinct=-0\.02\}", settings) for (settings,) in found), found


def test_plain_tables_with_sessions_are_refused(citus, empty, server, schema):
    empty.apply_schema()
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "INSERT INTO {}.sessions (next_sequence, message_count, updated_at, created_at, session_id, metadata) "
                "VALUES (0, 0, now(), now(), 's', '{{}}')"
            ).format(sql.Identifier(schema))
        )
        with pytest.raises(
            dal.SchemaMismatch, match=r"already holds sessions, in tables that are not distributed\. To "
        ):
            empty.apply_schema(distributed=True)


def test_tables_with_sessions_are_distributed_in_place(citus, empty, side, server, schema):
    """A store with a pool, which has used the plain tables, continues, and its writer too."""
    empty.apply_schema()
    sessions = [empty.session(f"s{n}", user_id="u") for n in range(8)]
    for session in sessions:
        session.append_all([dal.NewMessage(role="user", content=str(n)) for n in range(3)])
    sessions[0].remove_last()
    sessions[1].delete()
    sessions[2].archive()
    sessions[3].update_metadata({"a": 1})
    writer = empty.writer()
    writer.session("s9").append("user", "x")
    before = read(empty)
    with side.connect_store(server.conninfo, schema=schema) as other:
        other.apply_schema(distributed=True, shards=4, in_place=True)
        assert read(other) == before
    assert writer.session("s9").append("user", "x").sequence == 1
    assert read(empty) == before
    with psycopg.connect(server.conninfo) as connection:
        left = "SELECT sum(pg_relation_size(to_regclass(concat(%s::text, '.', t)))) FROM unnest(%s::text[]) AS t"
        tables = ["sessions", "messages", "removed_messages", "changes"]
        assert connection.execute(left, [schema, tables]).fetchone() == (0,)
    stored = empty.append_all([(unwrap(one), dal.NewMessage(role="user", content="x")) for one in sessions[3:]])
    assert [one.sequence for one in stored] == [3] * 5
    assert sessions[0].append("user", "x").sequence == 3
    writer.close()
    with pytest.raises(dal.SessionDeleted):
        sessions[1].append("user", "x")
    with pytest.raises(dal.SessionArchived):
        sessions[2].append("user", "x")


def read(store):
    """Return everything that can be read of eight sessions."""
    found = []
    for n in range(8):
        session = store.session(f"s{n}")
        try:
            found.append((session.record(), session.messages(), session.removed(), session.changes()))
        except dal.SessionNotFound as error:
            found.append(type(error))
    return found


def test_a_missing_and_a_changed_function_are_errors(citus, store, connection):
    if len(functions()) < 2:
        pytest.skip("there are no functions")
    name, other = list(functions())[:2]
    connection.execute(sql.SQL("DROP FUNCTION {}").format(sql.Identifier(name)))
    connection.execute("SET citus.enable_ddl_propagation = off")
    connection.execute(
        "UPDATE pg_proc SET prosrc = prosrc || ' ' "
        "WHERE pronamespace = current_schema()::regnamespace AND proname = %s",
        [other],
    )
    with pytest.raises(dal.SchemaMismatch) as raised:
        store.check_schema()
    assert raised.value.differences == (
        f"function {name} is missing; `dal schema apply --distributed` creates it",
        f"function {other} is another release's; `dal schema upgrade` replaces it",
    )
    store.apply_schema(distributed=True)
    store.check_schema()


def test_a_store_keeps_to_one_layout(citus, sync_store, server, schema):
    sync_store.check_schema()
    other = f"{schema}_other"
    with psycopg.connect(server.conninfo, autocommit=True, options=f"-c search_path={other}") as connection:
        dal.SessionStore(connection).apply_schema()
        with pytest.raises(dal.SchemaMismatch, match="this store began with tables that are; make a new store"):
            sync_store.using(connection).sessions()
        drop(connection, other)


def test_tables_that_are_not_distributed_are_errors(citus, store, server, schema):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("SELECT undistribute_table(%s, cascade_via_foreign_keys := true)", [f"{schema}.sessions"])
    with pytest.raises(dal.SchemaMismatch) as raised:
        store.check_schema()
    assert "table sessions is not distributed, and dal_schema is" in raised.value.differences


def test_a_store_can_use_any_node(citus, side, server, schema, connection):
    host, port = connection.execute(
        "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid LIMIT 1"
    ).fetchone()
    worker = make_conninfo(server.conninfo, host=host, port=port)
    try:
        psycopg.connect(worker, connect_timeout=5).close()
    except psycopg.OperationalError:
        pytest.skip("the worker cannot be reached from here")
    with side.connect_store(worker, schema=schema) as store:
        for n in range(8):
            session = store.session(f"s{n}", user_id="u1")
            session.append_all([dal.NewMessage(role="user", content=str(m)) for m in range(3)])
            assert session.remove_from(2) == 1
            assert [message.content for message in session.open().messages] == ["0", "1"]
        assert len(store.sessions(user_id="u1").sessions) == 8
        assert len(b"".join(store.export()).splitlines()) == 8 * 3
        assert store.session("s0").fork(at=1).record().message_count == 1
        assert store.erase_user("u1").sessions == 9


def test_the_command_applies_checks_and_warns(citus, server, schema):
    options = ("--schema", schema, "--dsn", server.conninfo)
    assert run("schema", "apply", "--distributed", "--shards", "4", *options).returncode == 0
    done = run("schema", "check", *options)
    assert done.stdout.startswith("OK: version")
    assert "warning" not in done.stdout
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            done = run("schema", "check", *options)
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_commit")
            connection.execute("SELECT pg_reload_conf()")
    assert done.returncode == 0
    assert "warning: synchronous_commit is off on node" in done.stdout.splitlines()[-1]


def test_the_whole_script_is_printed():
    done = run("schema", "print", "--distributed")
    assert done.stdout.encode() == distributed.script()


@pytest.mark.parametrize("user", ["u1", "other"])
@pytest.mark.usefixtures("citus")
def test_an_erasure_waits_for_a_fork_that_is_committing(sync_store, connection, server, options, user):
    """A fork that has released its parent and is prepared, but not visible yet."""
    sync_store.session("s", user_id="u1").append("user", "x")
    host, port, shard = connection.execute(
        "SELECT n.nodename, n.nodeport, shard_name('sessions', s.id) "
        "FROM get_shard_id_for_distribution_column('sessions', 'fork') AS s (id) "
        "JOIN pg_dist_placement AS p ON p.shardid = s.id JOIN pg_dist_node AS n USING (groupid)"
    ).fetchone()
    insert = sql.SQL(
        "INSERT INTO {} (session_id, user_id, parent_id, fork_point, metadata, next_sequence, message_count, "
        "created_at, updated_at, listed_at) VALUES ('fork', %s, 's', 0, '{{}}', 0, 0, now(), now(), now())"
    ).format(sql.Identifier(*shard.split(".")))
    conninfo = make_conninfo(server.conninfo, host=host, port=port, options=options["options"])
    with psycopg.connect(conninfo) as worker, ThreadPoolExecutor() as threads:
        worker.execute("SET citus.enable_manual_changes_to_shards = on")
        worker.commit()
        worker.tpc_begin("citus_999_1_1_1")  # Citus leaves it alone, since there is no node 999.
        worker.execute(insert, [user])
        worker.tpc_prepare()
        erasing = threads.submit(sync_store.erase_user, "u1")
        try:
            with pytest.raises(TimeoutError):
                erasing.result(timeout=0.5)
        finally:
            worker.tpc_commit()
    assert erasing.result() == (dal.Erased(2, 1, 0, ()) if user == "u1" else dal.Erased(1, 1, 0, ("fork",)))
