"""The fleet: all writers of a server, whose messages are checked after each fault."""

import asyncio
import multiprocessing
import threading
import time
from contextlib import suppress

import psycopg
from psycopg.conninfo import make_conninfo

import dal
from faults.calls import Log
from faults.check import agent_mismatches, verify
from faults.cluster import Hanging, kill_process, wait_until
from faults.logs import Logs
from faults.writers import ENDED, SharedState, calls, run_process, write, write_async

THREADS, TASKS, PROCESSES = 2, 2, 2
WRITERS = THREADS + TASKS + PROCESSES
RECOVERY = 30.0
"""Seconds after a fault within which every writer must write again."""


class Fleet:
    """Two threads that share a writer, two tasks that share another one, and two processes that send each append
    directly. All write to one server until the block ends.
    """

    def __init__(self, conninfo, folder, tally, *, name="w", timeout=2.0, most=20, max_size=2):
        self.conninfo, self.folder, self.tally, self.name = conninfo, folder, tally, name
        self.timeout, self.most, self._max_size = timeout, most, max_size
        # The fork server has imported everything, so a killed process is replaced quickly.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["faults.writers"])
        self.board = SharedState(context, WRITERS)
        self.logs = Logs(folder)
        self._context = context
        self._incarnation = 0
        self._loop = threading.Thread(target=lambda: asyncio.run(self._run_tasks()), daemon=True)
        self._threads = threading.Thread(target=self._run_threads, daemon=True)
        self._processes = {}

    def __enter__(self):
        with self.harness() as connection:
            dal.SessionStore(connection).apply_schema()
        for one in (self._threads, self._loop):
            one.start()
        for index in range(WRITERS - PROCESSES, WRITERS):
            self._spawn(index)
        self.wait_until_all_write("the fleet starts")
        return self

    def __exit__(self, *error):
        self.board.generation.value = ENDED
        for one in (self._threads, self._loop, *self._processes.values()):
            one.join(20)
        for process in self._processes.values():
            process.kill()

    def settings(self, name):
        """Return the settings of a writer's store. The server's time limit is a little shorter than the store's."""
        limit = f"-c statement_timeout={self.timeout * 750:.0f}"
        return {
            "conninfo": make_conninfo(self.conninfo, application_name=name, options=limit),
            "max_size": self._max_size,
            "timeout": self.timeout,
        }

    def _calls(self, index):
        return calls(self.board, Log(self.folder, f"{self.name}{index}"), index, self.timeout, self.most)

    def _run_threads(self):
        settings = self.settings(f"{self.name} threads")
        with dal.SessionStore.connect(**settings) as store, store.writer() as writer:
            plans = [self._calls(n) for n in range(THREADS)]
            threads = [
                threading.Thread(target=write, args=(writer, calls_to_make), daemon=True) for calls_to_make in plans
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async def _run_tasks(self):
        settings = self.settings(f"{self.name} tasks")
        async with (
            dal.AsyncSessionStore.connect(**settings) as store,
            store.writer() as writer,
        ):
            await asyncio.gather(*(write_async(writer, self._calls(THREADS + n)) for n in range(TASKS)))

    def _spawn(self, index):
        self._incarnation += 1
        name = f"{self.name}{index}.{self._incarnation}"
        options = {"most": self.most, "settings": self.settings(name)}
        arguments = (self.board, self.folder, name, index)
        self._processes[index] = self._context.Process(
            target=run_process, args=arguments, kwargs=options, name=name, daemon=True
        )
        self._processes[index].start()

    def kill_process(self, index):
        """Send SIGKILL to one of the writing processes, and start another in its place; return its name."""
        index += WRITERS - PROCESSES
        process = self._processes[index]
        kill_process(process.pid)
        process.join()
        self._spawn(index)
        return process.name

    @property
    def generation(self):
        """The generation that the writers write to."""
        return f"{self.name}{self.board.generation.value}"

    def wait_until_all_write(self, what, least=1, within=RECOVERY):
        """Wait until each writer has received at least `least` more acknowledgements."""
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

    def wait_until_all_fail(self, what, within=RECOVERY, hold=lambda: None):
        """Wait until each writer has had an error. Until then, keep calling `hold`, which maintains the fault."""
        before = list(self.board.refused)

        def refused():
            hold()
            return all(now > then for now, then in zip(self.board.refused, before, strict=True))

        wait_until(refused, f"{what}: every writer fails", within)

    def check_recovery(self, fault, injected, *, least=10):
        """Wait until all writers write again after a fault, and check everything since the previous check."""
        began = time.monotonic()
        self.wait_until_all_write(fault)
        recovery = time.monotonic() - began
        self.wait_until_all_write(fault, least)
        number, generation = self.board.generation.value, self.generation
        self.board.generation.value += 1
        wait_until(lambda: min(self.board.at) > number, f"{fault}: the calls made before it have ended")
        late, self.board.late[:] = max(self.board.late), [0.0] * WRITERS
        with self.harness() as connection:
            self.wait_until_nothing_is_left(connection, fault)
            self.check(connection, fault, generation, injected, late=late, recovery=recovery)

    def check(self, connection, fault, generation, injected, **figures):
        """Check a generation, and add it to the table; fail on any fault."""
        verdict = verify(connection, self.logs.of(generation), generation)
        verdict.wrong += agent_mismatches(dal.SessionStore(connection), connection, generation)
        self.tally.add(fault, injected, verdict, **figures)
        assert verdict.is_sound, f"{fault}: {verdict}"

    def harness(self):
        return psycopg.connect(self.conninfo, autocommit=True, application_name="harness")

    def wait_until_nothing_is_left(self, connection, fault):
        """Wait until no transaction is older than the deadline, and no pool has too many connections."""
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

    def wait_until_disconnected(self, connection, name):
        """Wait until the server has closed the connections of a store, and released its locks."""
        held = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        wait_until(lambda: connection.execute(held, [name]).fetchone() == (0,), f"{name} is disconnected")

    def state(self):
        """Return the server's activity, to report when a test hangs."""
        with suppress(psycopg.Error), self.harness() as connection:
            return connection.execute(
                "SELECT pid, application_name, state, wait_event, left(query, 60) FROM pg_stat_activity"
            ).fetchall()
        return "the server does not answer"
