"""Greenlets that append, and are killed or time out. A program, since gevent patches the whole interpreter."""
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

SIZE, RUNNING, SESSIONS = 2, 6, 3


class Appender:
    """A greenlet that appends until it is killed."""

    def __init__(self, store, name, number, chance):
        self.session, self.chance = store.session(f"{name} {number % SESSIONS}"), chance
        self.name = f"{name}: greenlet {number}"
        self.acknowledged = {}
        self.interrupted = 0
        self.errors = []
        self.is_over = False
        self.greenlet = gevent.spawn(self.run)

    def run(self):
        for n in count():
            if self.is_over:  # It timed out just when it was killed, and caught only the timeout.
                return
            message_id = f"{self.name}, {n}"
            try:
                with gevent.Timeout(self.chance.expovariate(1 / 0.2)):
                    self.acknowledged[message_id] = self.session.append("user", "x", message_id=message_id).sequence
            except gevent.Timeout:
                self.interrupted += 1
            except dal.DalError as error:
                self.errors.append(repr(error))

    def kill(self):
        self.is_over = True
        self.greenlet.kill()
        self.interrupted += 1


def kill_appenders(store, name, killed):
    """Start greenlets, killing the oldest for each new one; return all of them."""
    chance = random.Random(1)
    running, ended = [], []
    for number in range(killed + RUNNING):
        running.append(Appender(store, name, number, chance))
        if len(running) > RUNNING:
            gevent.sleep(chance.expovariate(1 / 0.02))
            ended.append(running.pop(0))
            ended[-1].kill()
    for one in running:
        one.kill()
    return ended + running


def use_every_connection(store):
    with ExitStack() as stack:
        for _ in range(SIZE):
            stack.enter_context(store._backend.runner.connection()).execute("SELECT 1")


def main(conninfo, target, killed):
    name = f"greenlets {target}"
    with dal.SessionStore.connect(conninfo, max_size=SIZE, timeout=10) as store:
        if target == "writer":
            with store.writer() as writer:
                done = kill_appenders(writer, name, int(killed))
        else:
            done = kill_appenders(store, name, int(killed))
        use_every_connection(store)
    return {
        "acknowledged": [pair for one in done for pair in one.acknowledged.items()],
        "interrupted": sum(one.interrupted for one in done),
        "errors": [error for one in done for error in one.errors],
    }


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
