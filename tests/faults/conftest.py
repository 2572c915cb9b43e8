"""The server and its writers, which run until the last test of this folder."""

import pytest

from faults.cluster import Cluster
from faults.fleet import Fleet


@pytest.fixture(scope="package")
def pristine():
    """A server that never runs; the others are copies of it."""
    cluster = Cluster()
    try:
        yield cluster.make()
    finally:
        cluster.remove()


@pytest.fixture(scope="package")
def cluster(pristine):
    """A running server to inject faults into, with `max_connections` of 60."""
    cluster = Cluster()
    try:
        yield cluster.make(pristine).start()
    finally:
        cluster.remove()


@pytest.fixture(scope="package")
def fleet(cluster, tally, scale, tmp_path_factory):
    """Writers that write to the server during all tests of this folder."""
    with Fleet(cluster.conninfo, tmp_path_factory.mktemp("logs"), tally, timeout=scale(1.0, 2.0)) as fleet:
        yield fleet
