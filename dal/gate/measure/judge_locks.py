"""Compare locks and waits with the promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from dal.gate.header.promises import LOCK_MODES, ROW_LOCKS, Advisory, Rows, Waits
from dal.gate.measure.evidence import Judged, NotMeasured, require_table, require_work
from dal.gate.measure.measurement import Measurement


def lock_promises(measured: Measurement) -> Iterator[tuple[str, Callable[[], Judged]]]:
    """Yield each promise about locks and waits, and one for each lock that is not promised."""
    yield from _row_locks(measured)
    promises = measured.subject.promises
    if promises.advisory.number or measured.advisory:
        yield str(promises.advisory), partial(_advisory, measured)
    if promises.waits is not None:
        yield str(promises.waits), partial(_waits, promises.waits, measured)
    tables = sorted(promises.locks | measured.locks)
    for table in tables:
        yield f"{promises.locks.get(table, 'no lock')} on {table}", partial(_lock, table, measured)
    if not tables:
        yield "no lock on any table", lambda: ("no lock", True)


def _row_locks(measured: Measurement) -> Iterator[tuple[str, Callable[[], Judged]]]:
    promises = measured.subject.promises
    for rows in promises.rows:
        yield str(rows), partial(_rows, rows, measured)
    for table in sorted(measured.rows.keys() - {rows.table for rows in promises.rows}):
        if measured.rows[table]:
            yield f"no row of {table} locked", partial(_rows, Rows(0, table), measured)


def _rows(rows: Rows, measured: Measurement) -> Judged:
    if rows.each and rows.each not in measured.activity:
        raise NotMeasured(f"nothing was measured along {rows.each}")
    _require_all_work(measured)
    locked, strength = measured.rows.get(rows.table, 0), measured.row_locks.get(rows.table)
    found = f"{locked:,.6g} locked" + (f" {strength}" if strength else "")
    return found, rows.number in {None, locked} and _rank(strength) <= _rank(rows.strength)


def _rank(strength: str | None) -> int:
    """Return the rank of a row lock's strength; -1 for no lock."""
    return ROW_LOCKS.index(strength) if strength else -1


def _advisory(measured: Measurement) -> Judged:
    _require_all_work(measured)
    return str(Advisory(measured.advisory)), measured.advisory <= measured.subject.promises.advisory.number


def _waits(waits: Waits, measured: Measurement) -> Judged:
    _require_all_work(measured)
    if waits.tables and not measured.waits:
        raise NotMeasured("no call waited for a lock")
    return str(Waits(tuple(sorted(measured.waits)))), measured.waits <= set(waits.tables)


def _require_all_work(measured: Measurement) -> None:
    """Raise NotMeasured unless every call had an effect: a call that finds no row locks none."""
    for axis, activity in measured.activity.items():
        require_work(axis, activity)


def _lock(table: str, measured: Measurement) -> Judged:
    promised, taken = measured.subject.promises.locks.get(table), measured.locks.get(table)
    if taken is None:
        require_table(table, measured)
        raise NotMeasured("no lock was taken; remove the promise, or use parameters with which the call takes the lock")
    return taken, promised is not None and LOCK_MODES.index(taken) <= LOCK_MODES.index(promised)
