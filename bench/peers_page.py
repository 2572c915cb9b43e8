"""The page that says what was measured of the data layers of the field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import fill

from contention import EACH, WRITERS, Contention
from peer_costs import DURABLE, ROUNDS, SECONDS, Cost, Times

COMMAND = "uv run bench/peers.py --write"


@dataclass
class Row:
    """A layer, and what was measured of it; or why nothing was."""

    title: str
    call: str = ""
    beside: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    cost: Cost | None = None
    times: dict[int, Times] = field(default_factory=dict)
    durable: Times | None = None
    contention: Contention | None = None
    failed: str = ""


def page(rows: list[Row], *, server: str, machine: str) -> str:
    """The page, in Markdown."""
    done = [row for row in rows if not row.failed]
    at = [f"at {size:,}" for size in sorted({size for row in done for size in row.times})]
    return f"""\
# Other data layers

This page compares one append in seven agent frameworks with one in session-dal. Each is called by its public interface,
set up as its documentation says, with its own tables and indexes, in a database of its own.

`{COMMAND}` installs them, measures them, and writes this page. The last run was on
{server}, with {machine}.

The calls do not all do the same. [The last section](#what-the-calls-do) says what each one does besides storing the
message, what was not counted, and which versions were measured.

## What one append costs

{_table(["", "round trips", "statements", *at, f"at {DURABLE:,}, on disk"], map(_cost, done))}

- **Round trips and statements** are counted on the wire by a proxy, in the same way for every driver, on open and warm
  connections. They include `BEGIN`, `COMMIT` and a pool's check that a connection is alive.
- **Times** are for an append to a session with this number of messages, of 200 characters each, as a multiple of our
  time in the same run and the same kind of program (tasks or threads). The two take turns, {ROUNDS} times or for
  {SECONDS} seconds, and the shortest time of each counts. No session grows by more than a tenth, and each object has
  appended before. `synchronous_commit` is off, since the disk would dominate otherwise; in the last column it is on.
- The server is on the same machine, where a round trip takes almost no time. Between machines, layers with more round
  trips fall further behind. The first two rows compare session-dal with itself, and so show the noise.

## Eight writers of one session

{WRITERS} writers append {EACH} messages each to one session, as the requests of a service do, while a reader reads the
session. `synchronous_commit` is on.

{_table(["", "errors", "lost", "duplicated", "late", "reads"], map(_contention, done))}

- **Errors** were raised by the append, so the caller knows and can try again.
- **Lost** messages are missing at the end although their append returned.
- **Late** messages became visible at a place before a message that the reader had already seen, since their order does
  not follow the commits. A reader that asks for messages after the last one that it has seen never gets them. The
  number depends on when and how often the reader reads, so it is a lower bound, and differs in each run. **Reads** is
  the number of times that it read.

## What the calls do

{_calls(done)}
{_failures(rows)}"""


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def _cost(row: Row) -> list[str]:
    times = [*(one for _, one in sorted(row.times.items())), row.durable]
    told = [f"{one.ratio:.{0 if one.ratio >= 10 else 1}f} x ({one.took * 1000:.2f} ms)" for one in times]
    return [row.title, str(row.cost.round_trips), str(row.cost.statements), *told]


def _contention(row: Row) -> list[str]:
    of = row.contention
    errors = ", ".join(f"{number} {name}" for name, number in sorted(of.errors.items())) or "0"
    return [row.title, errors, str(of.lost), str(of.duplicated), str(of.late), str(of.read_count)]


def _calls(rows: list[Row]) -> str:
    return "\n".join(_wrapped(f"- **{row.title}** ({_versions(row)}): {row.call}. {row.beside}") for row in rows)


def _versions(row: Row) -> str:
    return ", ".join(f"{package} {version}" for package, version in row.versions.items())


def _wrapped(text: str) -> str:
    return fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _failures(rows: list[Row]) -> str:
    failed = [_wrapped(f"- {row.title}: {row.failed}") for row in rows if row.failed]
    return "\n".join(["\n## Not measured\n", *failed, ""]) if failed else ""
