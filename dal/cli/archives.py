"""The files of an export or an import, compressed according to their names."""

from __future__ import annotations

import gzip
import os
import secrets
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from dal.errors import DalError
from dal.gate.cli.files import refuse_overwriting

_SIZE = 2**20
"""Bytes to read at once."""


@contextmanager
def writing(file: str, *, force: bool) -> Iterator[BinaryIO]:
    """Open a file to write. It gets its name at the end; an incomplete file is deleted."""
    if file == "-":
        with _compressed(_standard(sys.stdout, "stdout"), "", "wb") as out:
            yield out
        sys.stdout.flush()
        return
    path = Path(os.path.realpath(file))
    with _telling(file, "write"):
        refuse_overwriting(path, force=force)
        direct = path.exists() and not path.is_file()  # A device, or a named pipe.
    part = path if direct else path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with _telling(file, "write"):
            with part.open("wb") as raw:
                with _compressed(raw, path.name, "wb") as out:
                    yield out
                raw.flush()
                if not direct:
                    os.fsync(raw.fileno())
            if not direct:
                refuse_overwriting(path, force=force)  # Again: an export may take hours.
                part.replace(path)
    finally:
        if not direct:
            part.unlink(missing_ok=True)


@contextmanager
def reading(file: str) -> Iterator[tuple[BinaryIO, Callable[[], float | None]]]:
    """Open a file to read; yield it with a function that returns the fraction that was read."""
    with _telling(file, "read"):
        raw = _standard(sys.stdin, "stdin") if file == "-" else Path(file).open("rb")  # noqa: SIM115 - closed below
    size = os.fstat(raw.fileno()).st_size if file != "-" and Path(file).is_file() else 0

    def place() -> float | None:
        return raw.tell() / size if size else None

    with raw, _compressed(raw, file, "rb") as source:
        yield source, place


def read(source: BinaryIO, file: str) -> bytes:
    """Read the next bytes."""
    with _telling(file, "read"):
        return source.read(_SIZE)


def _standard(stream: TextIO | None, name: str) -> BinaryIO:
    if stream is None:
        raise DalError(f"{name} is closed; give a file, or open it")
    return stream.buffer


@contextmanager
def _telling(file: str, what: str) -> Iterator[None]:
    """Raise an error that explains in a line why a file cannot be read or written."""
    try:
        yield
    except DalError:
        raise
    except _errors() as error:
        said = (isinstance(error, OSError) and error.strerror) or str(error)
        raise DalError(f"cannot {what} {file}: {said}") from error


def _errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of files and of the loaded compression modules."""
    zstd: Any = sys.modules.get("compression.zstd")
    return (OSError, EOFError, zlib.error, *([zstd.ZstdError] if zstd else ()))


@contextmanager
def _compressed(raw: BinaryIO, name: str, mode: str) -> Iterator[BinaryIO]:
    """Compress or decompress, according to the name."""
    if name.endswith(".gz"):
        # Without name and time, so that the same sessions make the same file.
        with gzip.GzipFile("", mode, 6, raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)
    elif name.endswith(".zst"):
        try:
            zstd = import_module("compression.zstd")
        except ModuleNotFoundError:
            raise DalError("a .zst file needs Python 3.14 or later; use .gz, or a pipe through zstd") from None
        with zstd.ZstdFile(raw, mode) as packed:
            yield packed
    else:
        yield raw
