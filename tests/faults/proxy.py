"""A proxy that does one thing to one connection, at one byte of one direction."""

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
    """What is done: cut (an end of file), reset, drop (a black hole) or delay; and where, in one direction.

    Either before a message, or within it, counted from now on, or after so many bytes.
    """

    action: str
    direction: str
    message: int | None = None
    within: bool = False
    after: int = 0
    seconds: float = 0.05
    for_good: bool = False
    """Whether no connection is let through afterwards."""
    passed: bytearray = field(default_factory=bytearray)
    fired: threading.Event = field(default_factory=threading.Event)

    def reached(self, data):
        """How much of this data goes before the place; None if the place comes later."""
        before = len(self.passed)
        self.passed += data
        place = self.after if self.message is None else self._place()
        return None if place is None or place > len(self.passed) else max(0, place - before)

    def _place(self):
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
        """The length of the message that begins there: a byte for its kind, and four that count themselves."""
        header = self.passed[begin : begin + 5]
        return 1 + int.from_bytes(header[1:], "big") if len(header) == 5 else None


class Link:
    """A client's connection, and the one that was made to the server for it."""

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
                # It wakes the thread that reads from it, without which close would not end the connection.
                one.shutdown(socket.SHUT_RD if self._reset else socket.SHUT_RDWR)
            one.close()


class Proxy:
    """Passes connections on to a server, but for the fault that is armed, which happens once."""

    def __init__(self, conninfo):
        self._conninfo = conninfo
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.conninfo = make_conninfo(conninfo, host=host, port=port, sslmode="disable", gssencmode="disable")
        self.refusing = False
        self.silent = False
        """Whether it passes nothing on, and does not tell either side of the other's end."""
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
        """End all connections that there are."""
        for link in self._links:
            link.end()
        self._links.clear()

    @contextmanager
    def watching(self):
        """Give the bytes that pass meanwhile, by direction."""
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
                for way in ((REQUEST, client, server), (REPLY, server, client)):
                    threading.Thread(target=self._pump, args=(link, *way), daemon=True).start()

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
        """The fault, if it is to happen within this data, and after how much of it."""
        with self._lock:
            fault = self._fault
            if fault is None or fault.direction != direction or (before := fault.reached(data)) is None:
                return None, 0
            self._fault = None
            return fault, before


def messages(data):
    """How many of the protocol's messages this is."""
    count, place = 0, 0
    while place < len(data):
        count, place = count + 1, place + 1 + int.from_bytes(data[place + 1 : place + 5], "big")
    assert place == len(data)
    return count
