"""Run `dal check` twenty times while every core is kept busy, and fail unless it is green each time.

    uv run .ci/no_false_alarms.py

What is given is passed on: --server=embedded-16, or the name of one query.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

RUNS = 20


def work(for_whom: int) -> None:
    """Keep a core busy, for as long as the process that wants it lives."""
    while os.getppid() == for_whom:
        sum(range(100_000))


def check(options: list[str]) -> tuple[bool, str]:
    """Run the gate once; whether it is green, and a line about it."""
    started = time.monotonic()
    command = [sys.executable, "-m", "dal.cli", "check", "--format", "github", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    told = f"{'green' if done.returncode == 0 else f'status {done.returncode}'} in {time.monotonic() - started:.0f} s"
    said = [line.rpartition("::")[2] for line in done.stdout.splitlines()] or done.stderr.splitlines()
    return done.returncode == 0, f"{told}: {'; '.join(said)}"


def main() -> None:
    """Run it as often as it takes, and tell the outcome of each run and their sum."""
    busy = [multiprocessing.Process(target=work, args=(os.getpid(),), daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in busy:
        process.start()
    green = 0
    for run in range(1, RUNS + 1):
        is_green, told = check(sys.argv[1:])
        green += is_green
        load = os.getloadavg()[0]
        print(f"{run:>2}: {told} (load {load:.1f})", flush=True)
    print(f"{green} of {RUNS} green")
    sys.exit(green != RUNS)


if __name__ == "__main__":
    main()
