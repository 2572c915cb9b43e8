"""Connection strings, and the settings of a pool that become part of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

import psycopg
from psycopg.abc import ConnDict
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from dal.errors import InvalidInput
from dal.validate import identifier, seconds

_PROBES = 3
"""The number of unanswered TCP keepalive probes after which a peer has vanished."""


def with_schema(conninfo: str, schema: str | None) -> str:
    """Check a connection string, and make this schema the only one on the search_path of its connections.

    pg_temp is last: if it is not named, temporary tables hide the real ones.
    """
    given = _given(conninfo)
    if schema is None:
        return conninfo
    name = '"' + identifier("schema", schema).replace('"', '""') + '"'
    setting = "-c search_path=" + re.sub(r"([\\\s])", r"\\\1", name) + ",pg_temp"
    return make_conninfo(conninfo, options=" ".join(filter(None, (given.get("options"), setting))))


def with_timeout(conninfo: str, seconds: float) -> str:
    """Set connect_timeout, unless the string has one; libpq's default is to wait forever."""
    return _with_missing(conninfo, {"connect_timeout": max(2, ceil(seconds))})


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """The arguments of SessionStore.connect that make its pool."""

    conninfo: str
    schema: str | None
    min_size: int
    max_size: int
    timeout: float
    idle_timeout: float | None
    keepalive: float | None
    prepare_threshold: int | None
    pgbouncer: bool

    def complete_conninfo(self) -> str:
        """Return the connection string with the schema and with all limits."""
        if self.pgbouncer and self.schema is not None:
            raise InvalidInput(
                "schema",
                "cannot be sent through PgBouncer; give the search_path to the role, or to the database's entry",
            )
        probes = _probes(seconds("keepalive", self.keepalive))
        limits = {
            "statement_timeout": self.timeout,
            "idle_in_transaction_session_timeout": seconds("idle_timeout", self.idle_timeout),
            "tcp_user_timeout": self.keepalive,
        }
        settings = {name: ceil(limit * 1000) for name, limit in limits.items() if limit is not None}
        bounded = with_timeout(with_schema(self.conninfo, self.schema), self.timeout)
        kept_alive = _with_missing(bounded, probes | {n: v for n, v in settings.items() if n == "tcp_user_timeout"})
        if self.pgbouncer:
            return kept_alive
        # Compiling a plan takes longer than any of our statements (docs/guides/growing.md).
        server_settings = settings | {f"tcp_{name}": value for name, value in probes.items()} | {"jit": "off"}
        return _with_settings(kept_alive, server_settings)


def _probes(within: float | None) -> dict[str, int]:
    """Return TCP keepalive settings that detect a vanished peer in this time: half of it idle, then probes."""
    if within is None:
        return {}
    interval = ceil(within / 2 / _PROBES)
    return {"keepalives_idle": ceil(within / 2), "keepalives_interval": interval, "keepalives_count": _PROBES}


def _with_missing(conninfo: str, parameters: dict[str, int]) -> str:
    """Add libpq's parameters to a connection string, except those that are set there or in the environment."""
    given = _given(conninfo)
    return make_conninfo(conninfo, **{name: value for name, value in parameters.items() if name not in given})


def _with_settings(conninfo: str, settings: Mapping[str, int | str]) -> str:
    """Add server settings to a connection string's `options`, except those that are set there."""
    options = _given(conninfo).get("options", "")
    given = options.replace("-", "_")  # It may say --statement-timeout.
    added = [f"-c {name}={value}" for name, value in settings.items() if name not in given]
    return make_conninfo(conninfo, options=" ".join(filter(None, (options, *added))))


def _given(conninfo: str) -> dict[str, str]:
    """Return what a connection string sets, or else the environment, as libpq reads it (PGOPTIONS, PGSERVICE)."""
    defaults = {one.keyword.decode(): one.val.decode() for one in Conninfo.get_defaults() if one.val}
    return defaults | {name: str(value) for name, value in _parse(conninfo).items() if value}


def _parse(conninfo: str) -> ConnDict:
    with suppress(psycopg.ProgrammingError):
        parsed = conninfo_to_dict(conninfo)
        # A password with a / that is not written as %2F is taken for the port, which libpq would print.
        if all(port.isdecimal() or not port for port in str(parsed.get("port") or "").split(",")):
            return parsed
    # Not in the error's context either: libpq's message may quote the string, and so a password.
    raise InvalidInput(
        "conninfo",
        "is not a connection string; use postgresql://user@host/database, with a password's signs as %2F and so on",
    )
