"""Export or import everything in a separate process; print the seconds and the peak memory.

python bench/histories_process.py export|import CONNINFO SCHEMA FILE
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import dal


def main(command: str, conninfo: str, schema: str, file: str) -> None:
    with dal.SessionStore.connect(conninfo, schema=schema) as store:
        store.check_schema()
        with Path(file).open("rb" if command == "import" else "wb") as lines:
            began = time.perf_counter()
            if command == "import":
                store.import_(lines)
            else:
                lines.writelines(store.export())
            seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "memory": peak_memory()}))


def peak_memory() -> int | None:
    """Return the peak resident memory in bytes. (getrusage includes the parent's.)"""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
