"""A server is killed with its container, and started again."""

import gc
import warnings
from contextlib import suppress

import docker
import psycopg
import pytest
from faults.cluster import free_port, wait_until
from faults.fleet import Fleet
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config

from dal.gate.server import IMAGE


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(120, 1800)


def why_unavailable():
    """Return why no container can be started, or None; disable the reaper if its image is missing."""
    try:
        client = docker.from_env()
        try:
            client.images.get(IMAGE)
            if not client.images.list(testcontainers_config.ryuk_image):
                testcontainers_config.ryuk_disabled = True
        finally:
            client.close()
    except docker.errors.DockerException as error:
        return str(error)
    return None


@pytest.fixture
def container():
    """A server in a container, with the same port after a restart."""
    with warnings.catch_warnings():
        # Without an engine the client leaves an open socket; collect it here, not in the next test.
        warnings.simplefilter("ignore", ResourceWarning)
        missing = why_unavailable()
        gc.collect()
    if missing is not None:
        pytest.skip(f"no container engine with {IMAGE}: {missing}")
    container = PostgresContainer(IMAGE, driver=None).with_bind_ports(5432, free_port()).start()
    try:
        yield container
    finally:
        container.stop()


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
