"""Child processes, and clients that record which user's rows they read."""

import os
import pickle
import random
import select
import signal
import time
import traceback
import warnings

import dal

TIMEOUT = 10.0
"""The stores' timeout, in seconds."""


class Fork:
    """A fork at a chosen moment, and the result that the child process sends."""

    pid = None
    """The child's process id; 0 in the child."""

    def fork(self):
        self._reads, self._writes = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Forking with threads is tested here.
            self.pid = os.fork()
        if self.pid:
            os.close(self._writes)

    def send_result(self, failed, value):
        """Send the result to the parent and exit: the child must not continue the test."""
        try:
            with os.fdopen(self._writes, "wb") as file:
                pickle.dump((failed, value), file)
        finally:
            os._exit(0)

    def result(self, seconds=60):
        """Return the child's result; kill the child at the time limit."""
        received = b""
        deadline = time.monotonic() + seconds
        try:
            while select.select([self._reads], [], [], max(0, deadline - time.monotonic()))[0]:
                chunk = os.read(self._reads, 1 << 16)
                if not chunk:
                    break
                received += chunk
            else:
                os.kill(self.pid, signal.SIGKILL)
        finally:
            os.close(self._reads)
            os.waitpid(self.pid, 0)
        assert received, f"no result from the child within {seconds} seconds"
        failed, value = pickle.loads(received)
        assert not failed, value
        return value


class Child(Fork):
    """A child process that calls a function, and sends its result."""

    def __init__(self, call):
        self.fork()
        if self.pid == 0:
            self._run(call)

    def _run(self, call):
        try:
            result = False, call()
        except BaseException:  # noqa: BLE001 - the parent raises it
            result = True, traceback.format_exc()
        self.send_result(*result)


class ClientLog:
    """The results of one user's calls."""

    def __init__(self, user):
        self.user = user
        self.acknowledged = []
        """The session, message_id, sequence and content of each append."""
        self.foreign = 0
        self.slowest = 0.0
        self.errors = []


def append_and_read(store, user, *, calls, seed):
    """Append and read as one user; the user's name is part of each content."""
    log, chance, store_of_user = ClientLog(user), random.Random(seed), store.for_user(user)
    for n in range(calls):
        for step in _steps(store_of_user, log, chance, n):
            _timed(log, step)
    return log


async def append_and_read_async(store, user, *, calls, seed):
    """As `append_and_read`."""
    log, chance, store_of_user = ClientLog(user), random.Random(seed), store.for_user(user)

    async def step(one):
        began = time.monotonic()
        try:
            one(await one.call())
        except dal.DalError as error:
            log.errors.append(repr(error))
        log.slowest = max(log.slowest, time.monotonic() - began)

    for n in range(calls):
        for one in _steps(store_of_user, log, chance, n):
            await step(one)
    return log


def _timed(log, step):
    began = time.monotonic()
    try:
        step(step.call())
    except dal.DalError as error:
        log.errors.append(repr(error))
    log.slowest = max(log.slowest, time.monotonic() - began)


class _Step:
    """A call, and a function that handles its result."""

    def __init__(self, call, then):
        self.call, self._then = call, then

    def __call__(self, returned):
        self._then(returned)


def _steps(store_of_user, log, chance, n):
    session = store_of_user.session(f"of {log.user} {min(chance.randrange(5), chance.randrange(5))}")
    content = f"{log.user} {os.getpid()} {n} " + "x" * chance.randrange(400)
    yield _Step(
        lambda: session.append("user", content),
        lambda it: log.acknowledged.append((session.id, it.message_id, it.sequence, content)),
    )

    def read(messages):
        log.foreign += sum(not message.content.startswith(f"{log.user} ") for message in messages)

    yield _Step(lambda: session.latest(chance.randint(1, 30)), read)


def assert_consistent(connection, logs):
    """Compare the acknowledged messages with the stored ones."""
    stored = {
        (row[0], row[1]): (row[2], row[3])
        for row in connection.execute("SELECT session_id, message_id, sequence, content FROM messages")
    }
    wrong = [one for log in logs for one in log.acknowledged if stored.get((one[0], one[1])) != (one[2], one[3])]
    assert not wrong, f"{len(wrong)} messages are not stored as acknowledged, such as {wrong[:3]}"
    assert not sum(log.foreign for log in logs), [(log.user, log.foreign) for log in logs if log.foreign]
    assert not [error for log in logs for error in log.errors]
    assert max(log.slowest for log in logs) < TIMEOUT
    gaps = connection.execute(
        "SELECT session_id FROM messages GROUP BY session_id HAVING count(*) <> max(sequence) + 1"
    ).fetchall()
    assert not gaps
