"""A proxy that makes a round trip cost what it costs in a data centre: every reply comes a little later."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


@contextmanager
def delayed(conninfo: str, delay: float) -> Iterator[str]:
    """Pass connections on to the server, each reply late by so many seconds; give the conninfo to use."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=_serve, args=(listener, conninfo, delay, done))
        serving.start()
        host, port = listener.getsockname()
        try:
            yield make_conninfo(conninfo, host=host, port=port, sslmode="disable")
        finally:
            done.set()
            socket.create_connection((host, port)).close()  # It waits for a connection: this is the last.
            serving.join()


def _serve(listener: socket.socket, conninfo: str, delay: float, done: threading.Event) -> None:
    while True:
        client, _ = listener.accept()
        if done.is_set():
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_pass_on, args=(client, conninfo, delay), daemon=True).start()


def _pass_on(client: socket.socket, conninfo: str, delay: float) -> None:
    asked = threading.Event()
    with client, _upstream(conninfo) as server:
        back = threading.Thread(target=_reply, args=(server, client, asked, delay), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65536):
                asked.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
        back.join()


def _reply(server: socket.socket, client: socket.socket, asked: threading.Event, delay: float) -> None:
    with suppress(OSError):
        while data := server.recv(65536):
            if asked.is_set():  # The rest of a long reply follows without a delay.
                asked.clear()
                time.sleep(delay)
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


def _upstream(conninfo: str) -> socket.socket:
    given = conninfo_to_dict(conninfo)
    host, port = str(given.get("host") or "127.0.0.1"), int(given.get("port") or 5432)
    if host.startswith("/"):
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(f"{host}/.s.PGSQL.{port}")
        return upstream
    upstream = socket.create_connection((host, port))
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return upstream
