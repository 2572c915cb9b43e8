"""A proxy that injects one fault into one connection, at one byte of one direction."""

import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from proxy import upstream
from psycopg.conninfo import make_conninfo

REQUEST, REPLY = "request", "reply"


@dataclass
class Fault:
    """A fault and its position: the action is cut (end of file), reset, drop (a black hole) or delay.

    The position is before or within the `message`-th protocol message of a direction, or after `after` bytes of it.
    """

    action: str
    direction: str
    message: int | None = None
    within: bool = False
    after: int = 0
    seconds: float = 0.05
    for_good: bool = False
    """True if the proxy refuses all connections after the fault."""
    passed: bytearray = field(default_factory=bytearray)
    fired: threading.Event = field(default_factory=threading.Event)

    def reached(self, data):
        """Return how much of this data precedes the position; None if it has not been reached."""
        before = len(self.passed)
        self.passed += data
        position = self.after if self.message is None else self._position()
        return None if position is None or position > len(self.passed) else max(0, position - before)

    def _position(self):
        begin = 0
        for _ in range(self.message):
            if (length := self._length(begin)) is None:
                return None
            begin += length
        if not self.within:
            return begin
        length = self._length(begin)
        return length and begin + length // 2

    def _length(self, begin):
        """Return the length of a protocol message: a type byte, and a length that includes its own four bytes."""
        header = self.passed[begin : begin + 5]
        return 1 + int.from_bytes(header[1:], "big") if len(header) == 5 else None


class Link:
    """A client's connection, and its connection to the server."""

    def __init__(self, client, server):
        self.ends = (client, server)
        self._reset = False
        for one in self.ends:
            if one.family != socket.AF_UNIX:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def end(self, *, reset=False):
        self._reset = self._reset or reset
        for one in self.ends:
            with suppress(OSError):
                if self._reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # This wakes the thread that reads from it; otherwise close would not end the connection.
                one.shutdown(socket.SHUT_RD if self._reset else socket.SHUT_RDWR)
            one.close()


class Proxy:
    """A proxy that forwards connections to a server. An armed fault happens once."""

    def __init__(self, conninfo):
        self._conninfo = conninfo
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.conninfo = make_conninfo(conninfo, host=host, port=port, sslmode="disable", gssencmode="disable")
        self.refusing = False
        self.silent = False
        """True while the proxy swallows all data, and hides from each side that the other one has closed."""
        self._fault = None
        self._lock = threading.Lock()
        self._links = []
        self.seen = None

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._listener.close()
        self.cut_all()

    def arm(self, fault):
        with self._lock:
            self._fault = fault
        return fault

    def cut_all(self):
        """Close all connections."""
        for link in self._links:
            link.end()
        self._links.clear()

    @contextmanager
    def recording(self):
        """Record the bytes that pass during the block; yield them by direction."""
        self.seen = {REQUEST: bytearray(), REPLY: bytearray()}
        yield self.seen
        self.seen = None

    def _serve(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                    continue
                try:
                    server = upstream(self._conninfo)
                except OSError:
                    client.close()
                    continue
                link = Link(client, server)
                self._links.append(link)
                for pump in ((REQUEST, client, server), (REPLY, server, client)):
                    threading.Thread(target=self._pump, args=(link, *pump), daemon=True).start()

    def _pump(self, link, direction, source, target):
        dropping = False
        with suppress(OSError):
            while data := source.recv(65536):
                if self.silent:
                    continue
                if self.seen is not None:
                    self.seen[direction] += data
                fault, before = self._reached(direction, data)
                if fault is None:
                    if not dropping:
                        target.sendall(data)
                    continue
                target.sendall(data[:before])
                self.refusing = fault.for_good
                fault.fired.set()
                if fault.action in {"cut", "reset"}:
                    link.end(reset=fault.action == "reset")
                    return
                if fault.action == "drop":
                    dropping = True
                else:
                    time.sleep(fault.seconds)
                    target.sendall(data[before:])
        if not self.silent:
            link.end()

    def _reached(self, direction, data):
        """Return the fault if its position is within this data, and how much of the data precedes it."""
        with self._lock:
            fault = self._fault
            if fault is None or fault.direction != direction or (before := fault.reached(data)) is None:
                return None, 0
            self._fault = None
            return fault, before


def count_messages(data):
    """Count the protocol messages in this data."""
    count, position = 0, 0
    while position < len(data):
        count, position = count + 1, position + 1 + int.from_bytes(data[position + 1 : position + 5], "big")
    assert position == len(data)
    return count
