"""Child processes for the tests, and a crowd that shows whose rows each of them reads."""

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
"""Of the stores, in seconds."""


class Fork:
    """A fork in the middle of something, and what the child process tells of it."""

    pid = None
    """The child's; 0 in the child itself."""

    def now(self):
        self._reads, self._writes = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # That there are threads is what is tested.
            self.pid = os.fork()
        if self.pid:
            os.close(self._writes)

    def tell(self, failed, value):
        """Tell the parent, and end: the child must not go on with the test."""
        try:
            with os.fdopen(self._writes, "wb") as file:
                pickle.dump((failed, value), file)
        finally:
            os._exit(0)

    def result(self, seconds=60):
        """Wait for what the child tells; one that takes longer is killed."""
        told = b""
        ends = time.monotonic() + seconds
        try:
            while select.select([self._reads], [], [], max(0, ends - time.monotonic()))[0]:
                piece = os.read(self._reads, 1 << 16)
                if not piece:
                    break
                told += piece
            else:
                os.kill(self.pid, signal.SIGKILL)
        finally:
            os.close(self._reads)
            os.waitpid(self.pid, 0)
        assert told, f"the child told nothing within {seconds} seconds"
        failed, value = pickle.loads(told)
        assert not failed, value
        return value


class Child(Fork):
    """A child process that calls a function, and tells what that returned."""

    def __init__(self, call):
        self.now()
        if self.pid == 0:
            self._be_the_child(call)

    def _be_the_child(self, call):
        try:
            told = False, call()
        except BaseException:  # noqa: BLE001 - the parent raises it
            told = True, traceback.format_exc()
        self.tell(*told)


class Seen:
    """What one user's calls returned."""

    def __init__(self, user):
        self.user = user
        self.acknowledged = []
        """The session, message_id, sequence and content of each append."""
        self.foreign = 0
        self.slowest = 0.0
        self.errors = []


def use(store, user, *, calls, seed):
    """Append and read as one user, whose contents name the user."""
    seen, chance, own = Seen(user), random.Random(seed), store.for_user(user)
    for n in range(calls):
        for step in _steps(own, seen, chance, n):
            _timed(seen, step)
    return seen


async def use_async(store, user, *, calls, seed):
    """As `use`."""
    seen, chance, own = Seen(user), random.Random(seed), store.for_user(user)

    async def step(one):
        began = time.monotonic()
        try:
            one(await one.call())
        except dal.DalError as error:
            seen.errors.append(repr(error))
        seen.slowest = max(seen.slowest, time.monotonic() - began)

    for n in range(calls):
        for one in _steps(own, seen, chance, n):
            await step(one)
    return seen


def _timed(seen, step):
    began = time.monotonic()
    try:
        step(step.call())
    except dal.DalError as error:
        seen.errors.append(repr(error))
    seen.slowest = max(seen.slowest, time.monotonic() - began)


class _Step:
    """A call, and what is done with what it returned."""

    def __init__(self, call, then):
        self.call, self._then = call, then

    def __call__(self, returned):
        self._then(returned)


def _steps(own, seen, chance, n):
    session = own.session(f"of {seen.user} {min(chance.randrange(5), chance.randrange(5))}")
    content = f"{seen.user} {os.getpid()} {n} " + "x" * chance.randrange(400)
    yield _Step(
        lambda: session.append("user", content),
        lambda it: seen.acknowledged.append((session.id, it.message_id, it.sequence, content)),
    )

    def read(messages):
        seen.foreign += sum(not message.content.startswith(f"{seen.user} ") for message in messages)

    yield _Step(lambda: session.latest(chance.randint(1, 30)), read)


def check(connection, crowd):
    """Compare all that was acknowledged with what is stored."""
    stored = {
        (row[0], row[1]): (row[2], row[3])
        for row in connection.execute("SELECT session_id, message_id, sequence, content FROM messages")
    }
    wrong = [one for seen in crowd for one in seen.acknowledged if stored.get((one[0], one[1])) != (one[2], one[3])]
    assert not wrong, f"{len(wrong)} acknowledged under another number than is stored, such as {wrong[:3]}"
    assert not sum(seen.foreign for seen in crowd), [(seen.user, seen.foreign) for seen in crowd if seen.foreign]
    assert not [error for seen in crowd for error in seen.errors]
    assert max(seen.slowest for seen in crowd) < TIMEOUT
    gaps = connection.execute(
        "SELECT session_id FROM messages GROUP BY session_id HAVING count(*) <> max(sequence) + 1"
    ).fetchall()
    assert not gaps
