"""Greenlets that append, and are killed or run out of time: a program, since gevent changes all of the interpreter."""
# ruff: noqa: E402

from gevent import monkey

monkey.patch_all()

import json
import random
import sys
from contextlib import ExitStack
from itertools import count

import gevent

import dal

SIZE, CROWD, SESSIONS = 2, 6, 3


class Appending:
    """One greenlet, which appends until it is killed."""

    def __init__(self, store, name, number, chance):
        self.session, self.chance = store.session(f"{name} {number % SESSIONS}"), chance
        self.name = f"{name}: greenlet {number}"
        self.acknowledged = {}
        self.interrupted = 0
        self.wrong = []
        self.is_over = False
        self.greenlet = gevent.spawn(self.run)

    def run(self):
        for n in count():
            if self.is_over:  # Its time was up just when it was killed, and that is what it heard of.
                return
            message_id = f"{self.name}, {n}"
            try:
                with gevent.Timeout(self.chance.expovariate(1 / 0.2)):
                    self.acknowledged[message_id] = self.session.append("user", "x", message_id=message_id).sequence
            except gevent.Timeout:
                self.interrupted += 1
            except dal.DalError as error:
                self.wrong.append(repr(error))

    def kill(self):
        self.is_over = True
        self.greenlet.kill()
        self.interrupted += 1


def appended(store, name, killed):
    """Kill greenlets, the oldest first; a new one takes the place of each."""
    chance = random.Random(1)
    running, ended = [], []
    for number in range(killed + CROWD):
        running.append(Appending(store, name, number, chance))
        if len(running) > CROWD:
            gevent.sleep(chance.expovariate(1 / 0.02))
            ended.append(running.pop(0))
            ended[-1].kill()
    for one in running:
        one.kill()
    return ended + running


def every_connection(store):
    with ExitStack() as stack:
        for _ in range(SIZE):
            stack.enter_context(store._backend.runner.connection()).execute("SELECT 1")


def main(conninfo, way, killed):
    name = f"greenlets {way}"
    with dal.SessionStore.connect(conninfo, max_size=SIZE, timeout=10) as store:
        if way == "writer":
            with store.writer() as writer:
                done = appended(writer, name, int(killed))
        else:
            done = appended(store, name, int(killed))
        every_connection(store)
    return {
        "acknowledged": [pair for one in done for pair in one.acknowledged.items()],
        "interrupted": sum(one.interrupted for one in done),
        "wrong": [error for one in done for error in one.wrong],
    }


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
