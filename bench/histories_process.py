"""Exports or imports all in a process of its own, and tells the seconds, and the most memory that the process had.

python bench/histories_process.py export|import CONNINFO SCHEMA FILE
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import dal


def main(verb: str, conninfo: str, schema: str, file: str) -> None:
    with dal.SessionStore.connect(conninfo, schema=schema) as store:
        store.check_schema()
        with Path(file).open("rb" if verb == "import" else "wb") as lines:
            began = time.perf_counter()
            if verb == "import":
                store.import_(lines)
            else:
                lines.writelines(store.export())
            seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "memory": most_memory()}))


def most_memory() -> int | None:
    """Bytes that were resident at most. (What getrusage tells begins with the size of the parent.)"""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
