"""The crew: all writers of a server, and the check of what they did after each fault."""

import asyncio
import multiprocessing
import threading
import time
from contextlib import suppress

import psycopg
from psycopg.conninfo import make_conninfo

import dal
from faults.check import Logs, verify, wrong_agents
from faults.cluster import Hanging, kill_process, wait_until
from faults.writers import ENDED, Board, Log, calls, in_process, write, write_async

THREADS, TASKS, PROCESSES = 2, 2, 2
WRITERS = THREADS + TASKS + PROCESSES
RECOVERY = 30.0
"""Within so many seconds after a fault every writer has written again."""


class Crew:
    """Who writes to one server until the end: two threads that share a writer, two tasks that share another, and
    two processes that send each append as it comes.
    """

    def __init__(self, conninfo, folder, tally, *, name="w", timeout=2.0, most=20, max_size=2):
        self.conninfo, self.folder, self.tally, self.name = conninfo, folder, tally, name
        self.timeout, self.most, self._max_size = timeout, most, max_size
        # A server of processes that has imported everything: one that is killed is replaced at once.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["faults.writers"])
        self.board = Board(context, WRITERS)
        self.logs = Logs(folder)
        self._context = context
        self._incarnation = 0
        self._loop = threading.Thread(target=lambda: asyncio.run(self._tasks()), daemon=True)
        self._threads = threading.Thread(target=self._share, daemon=True)
        self._processes = {}

    def __enter__(self):
        with self.harness() as connection:
            dal.SessionStore(connection).apply_schema()
        for one in (self._threads, self._loop):
            one.start()
        for index in range(WRITERS - PROCESSES, WRITERS):
            self._spawn(index)
        self.all_write("the crew begins")
        return self

    def __exit__(self, *error):
        self.board.generation.value = ENDED
        for one in (self._threads, self._loop, *self._processes.values()):
            one.join(20)
        for process in self._processes.values():
            process.kill()

    def settings(self, name):
        """How a writer's store is connected. The server's own limit comes a little before the store's."""
        limit = f"-c statement_timeout={self.timeout * 750:.0f}"
        return {
            "conninfo": make_conninfo(self.conninfo, application_name=name, options=limit),
            "max_size": self._max_size,
            "timeout": self.timeout,
        }

    def _plan(self, index):
        return calls(self.board, Log(self.folder, f"{self.name}{index}"), index, self.timeout, self.most)

    def _share(self):
        settings = self.settings(f"{self.name} threads")
        with dal.SessionStore.connect(**settings) as store, store.writer() as writer:
            plans = [self._plan(n) for n in range(THREADS)]
            threads = [threading.Thread(target=write, args=(writer, plan), daemon=True) for plan in plans]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async def _tasks(self):
        settings = self.settings(f"{self.name} tasks")
        async with (
            dal.AsyncSessionStore.connect(**settings) as store,
            store.writer() as writer,
        ):
            await asyncio.gather(*(write_async(writer, self._plan(THREADS + n)) for n in range(TASKS)))

    def _spawn(self, index):
        self._incarnation += 1
        name = f"{self.name}{index}.{self._incarnation}"
        options = {"most": self.most, "settings": self.settings(name)}
        arguments = (self.board, self.folder, name, index)
        self._processes[index] = self._context.Process(
            target=in_process, args=arguments, kwargs=options, name=name, daemon=True
        )
        self._processes[index].start()

    def kill_a_process(self, index):
        """SIGKILL to one of the writers' processes, in the middle of whatever it does; another takes its place."""
        index += WRITERS - PROCESSES
        process = self._processes[index]
        kill_process(process.pid)
        process.join()
        self._spawn(index)
        return process.name

    @property
    def present(self):
        """The generation that they write to."""
        return f"{self.name}{self.board.generation.value}"

    def all_write(self, what, least=1, within=RECOVERY):
        """Wait until each writer has been acknowledged so many messages more."""
        before = list(self.board.acknowledged)
        try:
            wait_until(
                lambda: all(now >= then + least for now, then in zip(self.board.acknowledged, before, strict=True)),
                f"{what}: every writer writes",
                within,
            )
        except Hanging as error:
            counts = [now - then for now, then in zip(self.board.acknowledged, before, strict=True)]
            raise Hanging(f"{error}: they wrote {counts}") from None

    def all_are_refused(self, what, within=RECOVERY, hold=lambda: None):
        """Wait until each writer had an error, and call `hold` all the while to keep the fault up."""
        before = list(self.board.refused)

        def refused():
            hold()
            return all(now > then for now, then in zip(self.board.refused, before, strict=True))

        wait_until(refused, f"{what}: every writer is refused", within)

    def after(self, fault, injected, *, least=10):
        """Let all write on after a fault, and check everything that was written since the last one."""
        began = time.monotonic()
        self.all_write(fault)
        recovery = time.monotonic() - began
        self.all_write(fault, least)
        number, generation = self.board.generation.value, self.present
        self.board.generation.value += 1
        wait_until(lambda: min(self.board.at) > number, f"{fault}: the calls before it end")
        late, self.board.late[:] = max(self.board.late), [0.0] * WRITERS
        with self.harness() as connection:
            self.nothing_is_left(connection, fault)
            self.check(connection, fault, generation, injected, late=late, recovery=recovery)

    def check(self, connection, fault, generation, injected, **figures):
        """Check a generation, and put it into the table; fail if anything is amiss."""
        verdict = verify(connection, self.logs.of(generation), generation)
        verdict.wrong += wrong_agents(dal.SessionStore(connection), connection, generation)
        self.tally.add(fault, injected, verdict, **figures)
        assert verdict.sound, f"{fault}: {verdict}"

    def harness(self):
        return psycopg.connect(self.conninfo, autocommit=True, application_name="harness")

    def nothing_is_left(self, connection, fault):
        """No transaction or lock of the time before, and no more connections than the pools may have."""
        old, many = [], []

        def nothing():
            old[:] = connection.execute(
                "SELECT pid, application_name, state, wait_event, left(query, 60) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' "
                "AND xact_start < clock_timestamp() - make_interval(secs => %s)",
                [self.timeout + 1],
            ).fetchall()
            many[:] = connection.execute(
                "SELECT application_name, count(*) FROM pg_stat_activity "
                "WHERE application_name <> 'harness' AND backend_type = 'client backend' "
                "GROUP BY 1 HAVING count(*) > %s",
                [self._max_size],
            ).fetchall()
            return not old and not many

        try:
            wait_until(nothing, f"{fault}: nothing is left behind")
        except Hanging as error:
            raise Hanging(f"{error}: transactions {old}, connections {many}") from None

    def nobody_is_left(self, connection, name):
        """Wait until the server has noticed that a store is gone, with its locks."""
        held = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        wait_until(lambda: connection.execute(held, [name]).fetchone() == (0,), f"{name} has left the server")

    def state(self):
        """What to tell when something hangs."""
        with suppress(psycopg.Error), self.harness() as connection:
            return connection.execute(
                "SELECT pid, application_name, state, wait_event, left(query, 60) FROM pg_stat_activity"
            ).fetchall()
        return "the server does not answer"
