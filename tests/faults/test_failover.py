"""The primary is killed, its standby is promoted, and the writers continue there."""

import pytest
from psycopg.conninfo import make_conninfo

from faults.cluster import Cluster, wait_until
from faults.fleet import Fleet


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(90, 1800)


@pytest.fixture
def pair(pristine):
    """A primary and its synchronous standby."""
    primary, standby = Cluster(), Cluster()
    try:
        primary.make(pristine, hot_standby="on", synchronous_standby_names="''").start()
        follow(primary, standby)
        yield [primary, standby]
    finally:
        standby.remove()
        primary.remove()


def follow(primary, standby):
    """Create a standby, and make it synchronous."""
    standby.copy(primary).start()
    primary.set(synchronous_standby_names="'*'")
    with primary.connect() as connection:
        wait_until(
            lambda: connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall() == [("sync",)],
            "the standby is synchronous",
        )


def test_writers_continue_on_the_promoted_standby(pair, tally, scale, tmp_path):
    hosts = ",".join("127.0.0.1" for _ in pair)
    ports = ",".join(str(one.port) for one in pair)
    conninfo = make_conninfo(
        host=hosts, port=ports, user="postgres", dbname="postgres", target_session_attrs="read-write", connect_timeout=5
    )
    with Fleet(conninfo, tmp_path, tally, name="r", timeout=5.0) as fleet:
        for _ in range(scale(1, 8)):
            primary, standby = pair
            fleet.wait_until_all_write("before")
            primary.kill()
            # The new primary has no standby yet.
            standby.configure(synchronous_standby_names="''")
            standby.promote()
            standby.set(synchronous_standby_names="''")
            fleet.check_recovery("primary killed, standby promoted", 1, least=scale(10, 500))
            pair.reverse()
            if scale.full:
                follow(*pair)
