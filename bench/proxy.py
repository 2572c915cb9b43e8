"""A proxy before the server: it counts what goes over the wire, whatever the driver, and makes a reply come later."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo


@dataclass
class Traffic:
    """What has gone over the wire so far, that of connecting too."""

    round_trips: int = 0
    """How often the client has sent something, and the server has answered."""
    statements: int = 0
    """How many were run, BEGIN and COMMIT among them."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, round_trips: int = 0, statements: int = 0) -> None:
        """Count more, from any thread."""
        with self._lock:
            self.round_trips += round_trips
            self.statements += statements


class Requests:
    """What a client has sent on one connection, unencrypted."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    def statements(self, data: bytes) -> int:
        """How many statements are asked to be run by the messages that end with this data."""
        self._rest += data
        statements = 0
        while message := self._next():
            if self._started:
                statements += message[:1] in {b"Q", b"E"}  # Query, and Execute of the extended protocol.
            else:
                self._started = message[4:6] == b"\0\3"  # Before it comes what asks for encryption.
        return statements

    def _next(self) -> bytes:
        """The next whole message: a byte for its kind, but for the first, and four for the length with them."""
        kind = 1 if self._started else 0
        end = kind + int.from_bytes(self._rest[kind : kind + 4], "big")
        if len(self._rest) < max(end, kind + 4):
            return b""
        message, self._rest = self._rest[:end], self._rest[end:]
        return message


@contextmanager
def passed_on(conninfo: str, *, delay: float = 0, traffic: Traffic | None = None) -> Iterator[str]:
    """Pass connections on to the server, each reply late by so many seconds; give the conninfo to use.

    A round trip then costs what it costs in a data centre. What goes over the wire is added to `traffic`.
    """
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(conninfo, delay, traffic or Traffic())
        serving = threading.Thread(target=_serve, args=(listener, link, done))
        serving.start()
        host, port = listener.getsockname()
        try:
            yield make_conninfo(conninfo, host=host, port=port, sslmode="disable")
        finally:
            done.set()
            socket.create_connection((host, port)).close()  # It waits for a connection: this is the last.
            serving.join()


@dataclass(frozen=True)
class Link:
    """Where connections are passed on to, and how."""

    conninfo: str
    delay: float
    traffic: Traffic


def _serve(listener: socket.socket, link: Link, done: threading.Event) -> None:
    while True:
        client, _ = listener.accept()
        if done.is_set():
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_pass_on, args=(client, link), daemon=True).start()


def _pass_on(client: socket.socket, link: Link) -> None:
    asked, requests = threading.Event(), Requests()
    with client, upstream(link.conninfo) as server:
        back = threading.Thread(target=_reply, args=(server, client, asked, link), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65536):
                link.traffic.add(statements=requests.statements(data))
                asked.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
        back.join()


def _reply(server: socket.socket, client: socket.socket, asked: threading.Event, link: Link) -> None:
    with suppress(OSError):
        while data := server.recv(65536):
            if asked.is_set():  # The rest of a long reply is of the same round trip, and follows without a delay.
                asked.clear()
                link.traffic.add(round_trips=1)
                time.sleep(link.delay)
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


def upstream(conninfo: str) -> socket.socket:
    """Connect to the server, over TCP or by its socket in the file system."""
    given = conninfo_to_dict(conninfo)
    host, port = str(given.get("host") or "127.0.0.1"), int(given.get("port") or 5432)
    if host.startswith("/"):
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(f"{host}/.s.PGSQL.{port}")
        return upstream
    upstream = socket.create_connection((host, port))
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return upstream
