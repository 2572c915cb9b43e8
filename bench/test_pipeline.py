"""64 tasks that each read a session's latest 20 messages at once: on a pool of 8, and in a pipeline.

    uv run pytest bench/test_pipeline.py

The ways take turns. Times never fail a run.
"""

import asyncio
import statistics
import time
from contextlib import nullcontext

import pytest
from field import DELAY
from proxy import passed_on

import dal

CALLERS, ROUNDS = 64, 12
TITLE = f"{CALLERS} who read at once: the time on a pool of 8, as a multiple of that in a pipeline"


@pytest.mark.parametrize("far", [False, True], ids=["here", "in a data centre"])
def test_many_read_at_once(server, schema, tables, ledger, far):
    with passed_on(server.conninfo, delay=DELAY) if far else nullcontext(server.conninfo) as conninfo:
        times = asyncio.run(rounds(conninfo, schema))
    more = statistics.median(pool / pipeline for pool, pipeline in times[2:])
    place = f"replies {DELAY * 1000:.0f} ms late" if far else "on this machine"
    ledger.table(TITLE).tell(place, "the pool's time", f"{more:.1f} x")


async def rounds(conninfo, schema):
    """Seconds that all took, on the pool and in the pipeline, by round."""
    async with dal.AsyncSessionStore.connect(conninfo, schema=schema, min_size=8, max_size=8) as store:
        new = [dal.NewMessage(role="user", content="What was said, at the length of a line or so.")] * 30
        for n in range(CALLERS):
            await store.session(f"s{n}").append_all(new)

        async def read(way):
            began = time.perf_counter()
            read = await asyncio.gather(*(way.session(f"s{n}").latest(20) for n in range(CALLERS)))
            took = time.perf_counter() - began
            assert [len(messages) for messages in read] == [20] * CALLERS
            return took

        async with store.pipeline() as pipeline:
            return [(await read(store), await read(pipeline)) for _ in range(ROUNDS)]
