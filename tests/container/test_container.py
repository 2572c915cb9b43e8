"""A server is killed with its container, and started again."""

import gc
import warnings
from contextlib import suppress

import psycopg
import pytest
from faults.cluster import free_port, wait_until
from faults.fleet import Fleet
from testcontainers.community.postgres import PostgresContainer

from dal.gate.server import IMAGE, has_image, running


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(240, 1800)


@pytest.fixture
def container():
    """A server in a container, with the same port after a restart."""
    with warnings.catch_warnings():
        # Without an engine the client leaves an open socket; collect it here, not in the next test.
        warnings.simplefilter("ignore", ResourceWarning)
        is_ready = has_image(IMAGE)
        gc.collect()
    if not is_ready:
        pytest.skip(f"no container engine with the image {IMAGE} is running")
    with running(PostgresContainer(IMAGE, driver=None).with_bind_ports(5432, free_port())) as container:
        yield container


def test_writers_recover_after_the_container_is_killed(container, tally, scale, tmp_path):
    engine = container.get_wrapped_container()
    with Fleet(container.get_connection_url(), tmp_path, tally, name="c", timeout=5.0) as fleet:
        for _ in range(scale(1, 6)):
            fleet.wait_until_all_write("before")
            engine.kill()
            engine.start()
            wait_until(lambda: answers(fleet), "the container's server answers")
            fleet.check_recovery("container killed, and started", 1, least=scale(10, 500))


def answers(fleet):
    with suppress(psycopg.OperationalError), fleet.harness():
        return True
    return False
