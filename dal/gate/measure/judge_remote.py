"""Compare remote commands with the promise. A query that promises none takes at most one, on any number of shards."""

from __future__ import annotations

from itertools import pairwise

from dal.gate.header.promises import SHARDS, Promises, RemoteCommands
from dal.gate.measure.evidence import Elsewhere, Judged, require_work
from dal.gate.measure.measurement import Measurement

_ONE = (RemoteCommands(1),)
"""The promise of a query without the line: it stays on one shard."""


def promised(promises: Promises) -> tuple[RemoteCommands, ...]:
    """Return the parts of a query's promise."""
    return promises.remote or _ONE


def text_of(promises: Promises) -> str:
    """Return the promise in words."""
    return f"remote commands: {'; '.join(map(str, promised(promises)))}"


def remote_commands(measured: Measurement) -> Judged:
    """Compare the number at each number of shards and each size with the promise."""
    if not measured.is_on_cluster:
        raise Elsewhere("only on a Citus cluster, with --distributed")
    parts = promised(measured.subject.promises)
    is_within = all(
        number <= _limit(parts, shards, measured.remote_sizes[axis], axis)
        for shards, by_axis in measured.remote.items()
        for axis, number in by_axis.items()
    )
    if is_within and _grows_with_shards(measured):
        for axis in measured.remote_axes:
            require_work(axis, measured.activity[axis])
        return _text(measured), True
    return _text(measured), False


def _limit(parts: tuple[RemoteCommands, ...], shards: int, size: int, axis: str) -> float:
    times = {SHARDS: shards, axis: size, None: 1}
    if any(part.number is None for part in parts):
        return float("inf")
    return sum((part.number or 0) * times.get(part.each, 0) for part in parts)


def _grows_with_shards(measured: Measurement) -> bool:
    """Return whether the number grows at most as the number of shards does."""
    return all(
        many[axis] * fewer <= few[axis] * more
        for (fewer, few), (more, many) in pairwise(sorted(measured.remote.items()))
        for axis in many
    )


def _text(measured: Measurement) -> str:
    """Return the numbers by axis, from few shards to many."""
    shards = " and ".join(f"{n:,}" for n in sorted(measured.remote))
    figures = {axis: [at[axis] for _, at in sorted(measured.remote.items())] for axis in measured.remote_axes}
    numbers = "; ".join(
        f"{', '.join(f'{n:,}' for n in of)} at {measured.remote_sizes[axis]:,} in {axis}"
        for axis, of in figures.items()
    )
    return f"{numbers}, with {shards} shards"
