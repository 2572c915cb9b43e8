"""A process that locks a session's row in a transaction that it never ends."""

import json
import signal
import socket
import subprocess
import sys
import time
from typing import ClassVar

import dal

TCP_REPAIR = 19
"""A socket option of Linux. A socket that has it closes without sending a FIN or RST."""


def has_tcp_repair():
    with socket.socket() as one:
        try:
            one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except OSError:
            return False
    return True


def hold(conninfo, session, limits):
    """Run the process: lock the row, and vanish from the network on request."""
    with dal.SessionStore.connect(conninfo, max_size=1, **json.loads(limits)) as store, store.transaction() as inside:
        inside.session(session).append("user", "never committed")
        write_line("holds")
        sys.stdin.readline()
        with socket.socket(fileno=inside._backend.runner.source._connection.fileno()) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        write_line("vanished")
        time.sleep(600)


def write_line(what, stream=sys.stdout):
    stream.write(f"{what}\n")
    stream.flush()


class StoppedClient:
    """The process is stopped; its operating system keeps the connection alive."""

    limits: ClassVar = {"idle_timeout": 0.5}
    is_proxied = False

    def __init__(self, fleet, proxy, session):
        self.proxy = proxy
        conninfo = (proxy if self.is_proxied else fleet).conninfo
        command = [sys.executable, __file__, conninfo, session, json.dumps(self.limits)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        assert self.process.stdout.readline() == "holds\n"
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()
        self.proxy.silent = False

    def lose(self):
        self.process.send_signal(signal.SIGSTOP)


class KilledClient(StoppedClient):
    """The process is killed; its operating system closes the connection."""

    limits: ClassVar = {}

    def lose(self):
        self.process.kill()


class SilentClient(StoppedClient):
    """The process is killed; a proxy keeps its connection to the server open, and swallows all data."""

    is_proxied = True

    def lose(self):
        self.proxy.silent = True
        self.process.kill()


class VanishedClient(StoppedClient):
    """The connection vanishes; the server's keepalive notices it long before the idle timeout."""

    limits: ClassVar = {"keepalive": 2.0}

    def lose(self):
        write_line("vanish", self.process.stdin)
        assert self.process.stdout.readline() == "vanished\n"


if __name__ == "__main__":
    hold(*sys.argv[1:])
