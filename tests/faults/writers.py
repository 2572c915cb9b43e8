"""Writers that send calls all the time, in threads, tasks and processes."""

import asyncio
import random

import dal
from faults.calls import Log
from faults.load import Load

ENDED = -1
"""The generation at which the writers end."""


class SharedState:
    """State that the writers and the test share across processes."""

    def __init__(self, context, writers):
        self.generation = context.RawValue("q", 0)
        self.at = context.RawArray("q", [0] * writers)
        self.acknowledged = context.RawArray("q", writers)
        self.refused = context.RawArray("q", writers)
        self.late = context.RawArray("d", writers)


def calls(state, log, index, timeout, most):
    """Yield calls to the sessions of the current generation; resend most failed ones."""
    chance = random.Random(log.writer)
    load, call = None, None
    while (generation := state.generation.value) != ENDED:
        if load is None or state.at[index] != generation:
            load = Load(log, f"{log.writer[0]}{generation}", chance, most=most, timeout=timeout)
            state.at[index], call = generation, None
        call = call or load.next()
        yield call
        state.late[index] = max(state.late[index], call.late)
        if call.error is None:
            state.acknowledged[index] += max(1, len(call.keys))
            call = None
        elif call.outcome == "declined":
            call = None
        else:
            state.refused[index] += 1
            # Some are not resent, so that their errors can be checked against the stored messages.
            call = call.repeated if chance.random() < 0.7 else None
    state.at[index] = ENDED


def write(store, calls_to_make):
    for call in calls_to_make:
        with call:
            call.acknowledged(call.send(store))


async def write_async(store, calls_to_make):
    for call in calls_to_make:
        with call:
            call.acknowledged(await call.send(store))


def run_process(state, folder, writer, index, *, most, settings):
    """Run a writing process: synchronous for an even index, else asynchronous."""
    calls_to_make = calls(state, Log(folder, writer), index, settings["timeout"], most)
    if index % 2 == 0:
        with dal.SessionStore.connect(**settings) as store:
            write(store, calls_to_make)
        return

    async def run():
        async with dal.AsyncSessionStore.connect(**settings) as store:
            await write_async(store, calls_to_make)

    asyncio.run(run())
