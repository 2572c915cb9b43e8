"""The server and the writers on it, which end with the tests of this folder."""

import pytest

from faults.cluster import Cluster
from faults.fleet import Crew


@pytest.fixture(scope="package")
def pristine():
    """A server that never runs, which the others are made from."""
    cluster = Cluster()
    try:
        yield cluster.make()
    finally:
        cluster.remove()


@pytest.fixture(scope="package")
def cluster(pristine):
    """A server to be broken, with `max_connections` of 60."""
    cluster = Cluster()
    try:
        yield cluster.make(pristine).start()
    finally:
        cluster.remove()


@pytest.fixture(scope="package")
def crew(cluster, tally, scale, tmp_path_factory):
    """The writers on it, who write as long as the tests of this folder last, and no others."""
    with Crew(cluster.conninfo, tmp_path_factory.mktemp("logs"), tally, timeout=scale(1.0, 2.0)) as crew:
        yield crew
