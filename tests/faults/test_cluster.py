"""Nodes of a Citus cluster are killed, and shards moved, under load: no message is lost, duplicated or misnumbered.

Needs --postgres=citus, DAL_TEST_CITUS_DSN and DAL_TEST_CITUS_CONTROL. The latter is a command, such as a script around
pg_ctl, that takes a node's port and `kill` or `start`.
"""

import os
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from random import Random

import psycopg
import pytest
from sides import unwrap

import dal
from dal import NewMessage
from dal.ids import new_id

CONTROL = "DAL_TEST_CITUS_CONTROL"
WRITERS, SESSIONS = 6, 12

pytestmark = pytest.mark.time_limit(300)


class Writer(threading.Thread):
    """Appends to a random session, or to three at once; repeats an append if the server was unavailable."""

    def __init__(self, store, number, stop):
        super().__init__()
        self.store, self.stop, self.random = store, stop, Random(number)
        self.acknowledged = defaultdict(dict)
        """The sequence number of each acknowledged message, by session id and message id."""
        self.longest = 0.0

    def run(self):
        while not self.stop.is_set():
            names = self.random.sample(range(SESSIONS), 3) if self.random.random() < 0.2 else [self._one()]
            given = [
                (self.store.session(f"s{n}"), NewMessage(role="user", content="x", message_id=new_id())) for n in names
            ]
            began = time.monotonic()
            for message in self._send(given):
                self.acknowledged[message.session_id][message.message_id] = message.sequence
            self.longest = max(self.longest, time.monotonic() - began)

    def _one(self):
        return 0 if self.random.random() < 0.4 else self.random.randrange(SESSIONS)

    def _send(self, given):
        while True:
            try:
                return self.store.append_all(given)
            except dal.ServerUnavailable:
                time.sleep(0.1)
            except dal.PartlyRefused as error:
                if not all(isinstance(one, dal.Message | dal.ServerUnavailable) for one in error.outcomes):
                    raise
                time.sleep(0.1)


@pytest.fixture
def control(server):
    command = os.environ.get(CONTROL)
    if server.kind != "citus" or command is None:
        pytest.skip(f"needs --postgres=citus and {CONTROL}")
    return lambda port, what: subprocess.run([command, str(port), what], check=True, timeout=60)


@pytest.fixture
def nodes(control, server):
    with psycopg.connect(server.conninfo) as connection:
        return connection.execute("SELECT nodeport, shouldhaveshards FROM pg_dist_node ORDER BY nodeid").fetchall()


@pytest.fixture
def store(server, schema, tables):
    with dal.SessionStore.connect(server.conninfo, schema=schema, timeout=30, retries=20) as store:
        yield store


@contextmanager
def writing(store):
    stop = threading.Event()
    writers = [Writer(store, n, stop) for n in range(WRITERS)]
    for one in writers:
        one.start()
    try:
        time.sleep(1)
        yield writers
        time.sleep(1)
    finally:
        stop.set()
        for one in writers:
            one.join(60)


def check(store, writers):
    """Compare the acknowledged messages with the stored ones, and return their number."""
    total = 0
    for name in {name for one in writers for name in one.acknowledged}:
        acknowledged = {key: number for one in writers for key, number in one.acknowledged[name].items()}
        stored = list(store.session(name).messages(limit=1_000_000))
        assert [message.sequence for message in stored] == list(range(len(stored)))
        assert store.session(name).record().message_count == len(stored)
        numbers = {message.message_id: message.sequence for message in stored}
        assert len(numbers) == len(stored)
        assert {key: numbers.get(key) for key in acknowledged} == acknowledged
        total += len(acknowledged)
    return total


@pytest.mark.usefixtures("tables")
def test_a_killed_worker_fails_only_its_own_sessions(control, nodes, side, server, schema):
    """By append_all, and by a writer; what failed is then repeated with the same ids."""
    killed = next(port for port, has_shards in nodes if has_shards)
    names = [f"s{n}" for n in range(16)]
    with side.connect_store(server.conninfo, schema=schema, timeout=3, retries=2) as store, store.writer() as writer:
        store.append_all([(unwrap(store.session(one)), NewMessage(role="user", content="x")) for one in names])
        theirs = set(_sessions_on(server, schema, killed, names))
        assert 0 < len(theirs) < len(names)
        ways = {
            "append_all": lambda: _append_all(store, names),
            "writer": lambda: side.call_concurrently(
                [partial(unwrap(writer.session(one)).append, "user", one, message_id="w") for one in names]
            ),
        }
        control(killed, "kill")
        try:
            outcomes = {way: dict(zip(names, send(), strict=True)) for way, send in ways.items()}
        finally:
            control(killed, "start")
        for way, found in outcomes.items():
            failed = {one for one, outcome in found.items() if isinstance(outcome, dal.ServerUnavailable)}
            assert failed == theirs, way
            stored = {one: outcome for one, outcome in found.items() if isinstance(outcome, dal.Message)}
            assert stored.keys() == set(names) - theirs, way
            repeated = _until_stored(ways[way], names)
            assert {one: repeated[one] for one in stored} == stored, "none was stored again"
        assert {one: store.session(one).record().message_count for one in names} == dict.fromkeys(names, 3)


def _until_stored(send, names):
    """Send until every message is stored, since the worker may still be starting."""
    for _ in range(50):
        outcomes = dict(zip(names, send(), strict=True))
        if all(isinstance(one, dal.Message) for one in outcomes.values()):
            break
        time.sleep(0.2)
    return outcomes


def _append_all(store, names):
    given = [(unwrap(store.session(one)), NewMessage(role="user", content=one, message_id="a")) for one in names]
    try:
        return store.append_all(given)
    except dal.PartlyRefused as error:
        return error.outcomes


def _sessions_on(server, schema, port, names):
    """Return those sessions that are on a node."""
    with psycopg.connect(server.conninfo, options=f"-c search_path={schema}") as connection:
        found = connection.execute(
            "SELECT u FROM unnest(%s::text[]) AS u "
            "JOIN pg_dist_placement AS p ON p.shardid = get_shard_id_for_distribution_column('sessions', u) "
            "JOIN pg_dist_node AS n USING (groupid) WHERE n.nodeport = %s",
            [names, port],
        ).fetchall()
    return [one for (one,) in found]


@pytest.mark.parametrize("has_shards", [True, False], ids=["worker", "coordinator"])
def test_a_node_is_killed(control, nodes, store, figure, has_shards):
    with writing(store) as writers:
        for port, shards in nodes:
            if shards == has_shards:
                control(port, "kill")
                time.sleep(1)
                control(port, "start")
                time.sleep(1)
    total, longest = check(store, writers), max(one.longest for one in writers)
    figure(
        f"a killed {'worker' if has_shards else 'coordinator'}", f"{total:,} acknowledged, none lost; {longest:.1f} s"
    )


def test_a_shard_is_moved(nodes, store, connect, schema, figure):
    ports, connection = [port for port, has_shards in nodes if has_shards], connect()
    with writing(store) as writers:
        found = connection.execute(
            "SELECT s.shardid, n.nodename, n.nodeport FROM pg_dist_shard AS s "
            "JOIN pg_dist_placement AS p USING (shardid) JOIN pg_dist_node AS n USING (groupid) "
            "WHERE s.logicalrelid = to_regclass(%s)",
            [f"{schema}.sessions"],
        ).fetchall()
        for shard, host, port in found[:2]:
            other = next(one for one in ports if one != port)
            connection.execute(
                "SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, 'force_logical')",
                [shard, host, port, host, other],
            )
    total, longest = check(store, writers), max(one.longest for one in writers)
    figure("a moved shard", f"{total:,} acknowledged, none lost; {longest:.1f} s")
