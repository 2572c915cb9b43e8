"""Compare remote commands with the promise. A query that promises none takes at most one, on any number of shards."""

from __future__ import annotations

from itertools import pairwise

from dal.gate.header.promises import SHARDS, Promises, RemoteCommands
from dal.gate.measure.evidence import Elsewhere, Judged, require_work
from dal.gate.measure.measurement import Measurement

_ONE = (RemoteCommands(1),)
"""The promise of a query without the line: it stays on one shard."""

_TRANSACTION = 2
"""BEGIN and COMMIT. Citus sends them on each connection that it uses: from one for each node to one for each shard, as
long as the commands take."""


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
    if not _is_kept(promised(measured.subject.promises), measured):
        return _text(measured), False
    for axis in measured.remote_axes:
        require_work(axis, measured.activity[axis])
    return _text(measured), True


def _is_kept(parts: tuple[RemoteCommands, ...], measured: Measurement) -> bool:
    if any(part.number is None for part in parts):
        return _grows_with_shards(measured)
    return all(
        number <= sum((part.number or 0) * _times(part, shards, axis, measured.remote_sizes[axis]) for part in parts)
        for shards, by_axis in measured.remote.items()
        for axis, number in by_axis.items()
    )


def _times(part: RemoteCommands, shards: int, axis: str, size: int) -> int:
    """Return how many times a part counts."""
    return {None: 1, SHARDS: shards, axis: size}.get(part.each, 0)


def _grows_with_shards(measured: Measurement) -> bool:
    """Return whether the number grows at most as the number of shards does."""
    return all(
        many[axis] <= few[axis] * more / fewer + _TRANSACTION * more
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
