"""The primary dies, its standby is promoted, and writers go on there."""

import pytest
from psycopg.conninfo import make_conninfo

from faults.cluster import Cluster, wait_until
from faults.fleet import Crew


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(90, 1800)


@pytest.fixture
def pair(pristine):
    """Two servers: the first is the primary, and commits once the second has the commit too."""
    primary, standby = Cluster(), Cluster()
    try:
        primary.make(pristine, hot_standby="on", synchronous_standby_names="''").start()
        follow(primary, standby)
        yield [primary, standby]
    finally:
        standby.remove()
        primary.remove()


def follow(primary, standby):
    """Make a standby, and have the primary wait for it from here on."""
    standby.copy(primary).start()
    primary.set(synchronous_standby_names="'*'")
    with primary.connect() as connection:
        wait_until(
            lambda: connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall() == [("sync",)],
            "the standby is synchronous",
        )


def test_a_standby_takes_over(pair, tally, scale, tmp_path):
    hosts = ",".join("127.0.0.1" for _ in pair)
    ports = ",".join(str(one.port) for one in pair)
    conninfo = make_conninfo(
        host=hosts, port=ports, user="postgres", dbname="postgres", target_session_attrs="read-write", connect_timeout=5
    )
    with Crew(conninfo, tmp_path, tally, name="r", timeout=5.0) as crew:
        for _ in range(scale(1, 8)):
            primary, standby = pair
            crew.all_write("before")
            primary.kill()
            # A standby that has become the primary has nobody to wait for yet.
            standby.configure(synchronous_standby_names="''")
            standby.promote()
            standby.set(synchronous_standby_names="''")
            crew.after("primary killed, standby promoted", 1, least=scale(10, 500))
            pair.reverse()
            if scale.full:
                follow(*pair)
