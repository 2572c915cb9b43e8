"""Something runs out: connections, time, room on the disk."""

import asyncio
import subprocess
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

import dal
from faults.cluster import Cluster, Hanging, wait_until
from faults.fleet import Crew
from faults.probe import Focus


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 1800)


@contextmanager
def locked(crew):
    """Hold the rows of all sessions that the crew writes to now."""
    with psycopg.connect(crew.conninfo, application_name="harness") as holder:
        holder.execute("SET lock_timeout = 0")  # The limit is for the writers, whose rows this may wait for.
        holder.execute("SELECT FROM sessions WHERE starts_with(session_id, %s) FOR UPDATE", [crew.present + "-"])
        yield


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_a_timeout_of_the_server(cluster, crew, scale, setting):
    # The writers' own statement_timeout is three quarters of their stores' deadline.
    if setting == "lock_timeout":
        cluster.set(lock_timeout="'50ms'")
    try:
        for _ in range(scale(1, 5)):
            with locked(crew):
                crew.all_are_refused(setting)
            crew.after(setting, 1, least=scale(10, 500))
    finally:
        cluster.set(lock_timeout="0")


def test_the_pool_is_exhausted(crew, scale):
    """Its connections wait for a lock, and other callers for a connection, until their deadline."""
    settings = crew.settings("focus") | {"timeout": 0.5}
    with Focus(crew, "pool exhausted", timeout=0.5) as focus, dal.SessionStore.connect(**settings) as store:
        focus.do(store, focus.call())
        for _ in range(scale(1, 10)):
            calls = [focus.call(ids=True) for _ in range(8)]
            with held(crew, focus):
                threads = [threading.Thread(target=focus.once, args=(store, call)) for call in calls]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            all_refused_once(focus, calls)
            for call in calls:
                focus.do(store, call.again)


async def test_the_pool_is_exhausted_async(crew, scale):
    settings = crew.settings("focus") | {"timeout": 0.5}
    with Focus(crew, "pool exhausted", timeout=0.5) as focus:
        async with dal.AsyncSessionStore.connect(**settings) as store:
            await focus.once_async(store, focus.call())
            for _ in range(scale(1, 10)):
                calls = [focus.call(ids=True) for _ in range(8)]
                with held(crew, focus):
                    await asyncio.gather(*(focus.once_async(store, call) for call in calls))
                all_refused_once(focus, calls)
                for call in calls:
                    await focus.once_async(store, again := call.again)
                    assert again.error is None


@contextmanager
def held(crew, focus):
    """Hold the row of the focus' session."""
    with psycopg.connect(crew.conninfo, application_name="harness") as holder:
        holder.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [f"{focus.generation}-0"])
        yield


def all_refused_once(focus, calls):
    assert all(isinstance(call.error, dal.ServerUnavailable) for call in calls)
    focus.injected += len(calls)


@pytest.fixture
def small_disk():
    """A folder on a file system of its own, of 160 MB."""
    folder = Path(tempfile.mkdtemp(prefix="session-dal-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount program to make a small file system with")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def test_the_disk_is_full(small_disk, pristine, tally, scale, tmp_path):
    cluster = Cluster(small_disk)
    try:
        cluster.make(pristine, min_wal_size="'32MB'", max_wal_size="'32MB'").start()
        with Crew(cluster.conninfo, tmp_path, tally, name="d") as crew:
            for _ in range(scale(1, 4)):
                ballast = small_disk / "ballast"
                fill(ballast)
                try:
                    crew.all_are_refused("the disk is full")
                finally:
                    ballast.unlink()
                if not answers(cluster):
                    wait_until(lambda: cluster.postmaster is None, "the server has given up")
                    cluster.start()
                crew.after("disk full", 1, least=scale(10, 100))
    finally:
        cluster.remove()


def fill(ballast):
    """Leave no room, until writers have met it."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        for size in (2**20, 2**12):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def answers(cluster):
    """Whether it has survived, or comes back of itself."""
    with suppress(Hanging):
        cluster.wait_until_it_answers(within=5)
        return True
    return False
