"""A proxy that counts round trips and statements of any driver, and can delay replies."""

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
    """Counters of the traffic so far, including connecting."""

    round_trips: int = 0
    """The number of requests that the server has answered."""
    statements: int = 0
    """The number of statements, including BEGIN and COMMIT."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, round_trips: int = 0, statements: int = 0) -> None:
        """Add to the counters, from any thread."""
        with self._lock:
            self.round_trips += round_trips
            self.statements += statements


class Requests:
    """Parser of a client's messages on one unencrypted connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    def statements(self, data: bytes) -> int:
        """Return how many statements the messages run that end with this data."""
        self._rest += data
        statements = 0
        while message := self._next():
            if self._started:
                statements += message[:1] in {b"Q", b"E"}  # Query, and Execute of the extended protocol.
            else:
                self._started = message[4:6] == b"\0\3"  # Requests for encryption precede the startup message.
        return statements

    def _next(self) -> bytes:
        """Return the next complete message: a type byte, except for the first, and a length that includes itself."""
        kind = 1 if self._started else 0
        end = kind + int.from_bytes(self._rest[kind : kind + 4], "big")
        if len(self._rest) < max(end, kind + 4):
            return b""
        message, self._rest = self._rest[:end], self._rest[end:]
        return message


@contextmanager
def forward_through_proxy(conninfo: str, *, delay: float = 0, traffic: Traffic | None = None) -> Iterator[str]:
    """Forward connections to the server, delaying each reply by `delay` seconds; yield the conninfo to use.

    The delay simulates a round trip in a data centre. The traffic is added to `traffic`.
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
            socket.create_connection((host, port)).close()  # Wakes up accept() a last time.
            serving.join()


@dataclass(frozen=True)
class Link:
    """The target and the settings of forwarded connections."""

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
        threading.Thread(target=_forward, args=(client, link), daemon=True).start()


def _forward(client: socket.socket, link: Link) -> None:
    requested, requests = threading.Event(), Requests()
    with client, upstream(link.conninfo) as server:
        back = threading.Thread(target=_reply, args=(server, client, requested, link), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65536):
                link.traffic.add(statements=requests.statements(data))
                requested.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
        back.join()


def _reply(server: socket.socket, client: socket.socket, requested: threading.Event, link: Link) -> None:
    with suppress(OSError):
        while data := server.recv(65536):
            if requested.is_set():  # The rest of a long reply belongs to the same round trip, and is not delayed.
                requested.clear()
                link.traffic.add(round_trips=1)
                time.sleep(link.delay)
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


def upstream(conninfo: str) -> socket.socket:
    """Connect to the server, over TCP or its Unix socket."""
    parameters = conninfo_to_dict(conninfo)
    host, port = str(parameters.get("host") or "127.0.0.1"), int(parameters.get("port") or 5432)
    if host.startswith("/"):
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(f"{host}/.s.PGSQL.{port}")
        return upstream
    upstream = socket.create_connection((host, port))
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return upstream
