"""A process that holds a session's row in a transaction that it never ends."""

import json
import signal
import socket
import subprocess
import sys
import time
from typing import ClassVar

import dal

TCP_REPAIR = 19
"""An option of Linux's: a socket that has it is closed without telling the other side."""


def may_repair():
    with socket.socket() as one:
        try:
            one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except OSError:
            return False
    return True


def hold(conninfo, session, limits):
    """The whole of the process: it vanishes from the network when it is asked to."""
    with dal.SessionStore.connect(conninfo, max_size=1, **json.loads(limits)) as store, store.transaction() as inside:
        inside.session(session).append("user", "never committed")
        tell("holds")
        sys.stdin.readline()
        with socket.socket(fileno=inside._backend.runner._source._connection.fileno()) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        tell("vanished")
        time.sleep(600)


def tell(what, stream=sys.stdout):
    stream.write(f"{what}\n")
    stream.flush()


class Stops:
    """The process does nothing any more; its system says that all is well."""

    limits: ClassVar = {"idle_timeout": 0.5}
    is_proxied = False

    def __init__(self, crew, proxy, session):
        self.proxy = proxy
        conninfo = (proxy if self.is_proxied else crew).conninfo
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


class Dies(Stops):
    """Its system ends its connections."""

    limits: ClassVar = {}

    def lose(self):
        self.process.kill()


class GoesSilent(Stops):
    """It is killed, and the network does not say so; all that the server sends is taken."""

    is_proxied = True

    def lose(self):
        self.proxy.silent = True
        self.process.kill()


class Vanishes(Stops):
    """Nothing answers any more: the server asks, long before the transaction has been idle for too long."""

    limits: ClassVar = {"keepalive": 2.0}

    def lose(self):
        tell("vanish", self.process.stdin)
        assert self.process.stdout.readline() == "vanished\n"


if __name__ == "__main__":
    hold(*sys.argv[1:])
