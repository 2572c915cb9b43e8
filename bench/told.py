"""The page that says what was measured of the data layers of the field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import fill

from contention import EACH, WRITERS, Contention
from turns import DURABLE, ROUNDS, SECONDS, Cost, Times

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
# Beside the data layers of the field

One append, each by its own public interface, set up as its documentation says, with its own tables and indexes, on a
database of its own. `{COMMAND}` installs them, measures, and writes this page; the last time on
{server}, with {machine}.

They do not all do the same in one call. What each does beside, what was not counted, and the versions are
[below](#what-the-calls-do).

## What one append costs

{_table(["", "round trips", "statements", *at, f"at {DURABLE:,}, on the disk"], map(_cost, done))}

- **Round trips and statements** are counted on the wire, by a proxy, for every driver in the same way, on connections
  that are open and warm. `BEGIN`, `COMMIT` and a pool's question whether a connection is alive are among them.
- **Times** are those of an append to a session of so many messages of 200 characters, as a multiple of ours in the
  same run and in the same kind of program (tasks or threads): the two take turns, {ROUNDS} times or for {SECONDS}
  seconds, and the least of each is compared. No session grows by more than a tenth, and each object has appended
  before. `synchronous_commit` is off, since with it on the times are the disk's as well; the last column has it on.
- The server is on the same machine, where a round trip costs next to nothing: between machines those who need more of
  them fall further behind. What stands beside itself, in the first two rows, tells the noise.

## Eight writers of one session

{WRITERS} append {EACH} messages each to one session, as requests of one service do, while a reader looks on.
`synchronous_commit` is on.

{_table(["", "errors", "lost", "duplicated", "behind what was read", "looks"], map(_contention, done))}

- **Errors** are those that the append raised: the writer knows, and can try again.
- **Lost** are messages whose append returned, and which are not there at the end.
- **Behind what was read** are messages that came to light at a place before one that the reader had seen: their order
  is not that of the commits, and who asks for what came after the last message seen never gets them. What a
  reader sees of them depends on when it looks, and how often: the number is a least one, and another in each run.

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
    return [row.title, errors, str(of.lost), str(of.duplicated), str(of.behind), str(of.looks)]


def _calls(rows: list[Row]) -> str:
    return "\n".join(_wrapped(f"- **{row.title}** ({_versions(row)}): {row.call}. {row.beside}") for row in rows)


def _versions(row: Row) -> str:
    return ", ".join(f"{package} {version}" for package, version in row.versions.items())


def _wrapped(text: str) -> str:
    return fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _failures(rows: list[Row]) -> str:
    failed = [_wrapped(f"- {row.title}: {row.failed}") for row in rows if row.failed]
    return "\n".join(["\n## Not measured\n", *failed, ""]) if failed else ""
