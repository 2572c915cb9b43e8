"""Limits: exhausted connections, timeouts, a full disk."""

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
from faults.fleet import Fleet
from faults.probe import Probe


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 1800)


@contextmanager
def locked_sessions(fleet):
    """Lock the rows of all sessions that the fleet writes to now."""
    with psycopg.connect(fleet.conninfo, application_name="harness") as holder:
        holder.execute("SET lock_timeout = 0")  # This may have to wait for the writers.
        holder.execute("SELECT FROM sessions WHERE starts_with(session_id, %s) FOR UPDATE", [fleet.generation + "-"])
        yield


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_writers_recover_after_a_server_timeout(cluster, fleet, scale, setting):
    # The writers' own statement_timeout is three quarters of their stores' deadline.
    if setting == "lock_timeout":
        cluster.set(lock_timeout="'50ms'")
    try:
        for _ in range(scale(1, 5)):
            with locked_sessions(fleet):
                fleet.wait_until_all_fail(setting)
            fleet.check_recovery(setting, 1, least=scale(10, 500))
    finally:
        cluster.set(lock_timeout="0")


def test_calls_fail_at_their_deadline_while_the_pool_is_exhausted(fleet, scale):
    """All connections wait for a lock, and the other callers for a connection."""
    settings = fleet.settings("probe") | {"timeout": 0.5}
    with Probe(fleet, "pool exhausted", timeout=0.5) as probe, dal.SessionStore.connect(**settings) as store:
        probe.retry(store, probe.call())
        for _ in range(scale(1, 10)):
            calls = [probe.call(ids=True) for _ in range(8)]
            with locked_session(fleet, probe):
                threads = [threading.Thread(target=probe.send, args=(store, call)) for call in calls]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            assert_all_unavailable(probe, calls)
            for call in calls:
                probe.retry(store, call.repeated)


async def test_async_calls_fail_at_their_deadline_while_the_pool_is_exhausted(fleet, scale):
    settings = fleet.settings("probe") | {"timeout": 0.5}
    with Probe(fleet, "pool exhausted", timeout=0.5) as probe:
        async with dal.AsyncSessionStore.connect(**settings) as store:
            await probe.send_async(store, probe.call())
            for _ in range(scale(1, 10)):
                calls = [probe.call(ids=True) for _ in range(8)]
                with locked_session(fleet, probe):
                    await asyncio.gather(*(probe.send_async(store, call) for call in calls))
                assert_all_unavailable(probe, calls)
                for call in calls:
                    await probe.send_async(store, repeated := call.repeated)
                    assert repeated.error is None


@contextmanager
def locked_session(fleet, probe):
    """Lock the row of the probe's session."""
    with psycopg.connect(fleet.conninfo, application_name="harness") as holder:
        holder.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [f"{probe.generation}-0"])
        yield


def assert_all_unavailable(probe, calls):
    assert all(isinstance(call.error, dal.ServerUnavailable) for call in calls)
    probe.injected += len(calls)


@pytest.fixture
def small_disk():
    """A folder on its own file system of 160 MB."""
    folder = Path(tempfile.mkdtemp(prefix="session-dal-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small file system needs the mount program")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def test_writers_recover_after_the_disk_was_full(small_disk, pristine, tally, scale, tmp_path):
    cluster = Cluster(small_disk)
    try:
        cluster.make(pristine, min_wal_size="'32MB'", max_wal_size="'32MB'").start()
        with Fleet(cluster.conninfo, tmp_path, tally, name="d") as fleet:
            for _ in range(scale(1, 4)):
                ballast = small_disk / "ballast"
                fill(ballast)
                try:
                    fleet.wait_until_all_fail("the disk is full")
                finally:
                    ballast.unlink()
                if not answers(cluster):
                    wait_until(lambda: cluster.postmaster is None, "the server has stopped")
                    cluster.start()
                fleet.check_recovery("disk full", 1, least=scale(10, 100))
    finally:
        cluster.remove()


def fill(ballast):
    """Fill the file system."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        for size in (2**20, 2**12):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def answers(cluster):
    """Return whether the server survived, or restarted by itself."""
    with suppress(Hanging):
        cluster.wait_until_answering(within=5)
        return True
    return False
