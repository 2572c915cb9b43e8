"""Run `dal check` three at a time on one server with all cores busy; fail unless every run is green.

    uv run .ci/no_false_alarms.py [--rounds N] [--server KIND] [OPTION…]

Other options and arguments are passed on to `dal check`, such as the name of one query.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dal.gate.server import serve

CONCURRENT_RUNS = 3


def work(parent: int) -> None:
    """Keep a core busy with what the gates leave of it, until the parent process ends."""
    os.nice(10)
    while os.getppid() == parent:
        sum(range(100_000))


def check(conninfo: str, options: list[str], run: int) -> bool:
    """Run the gate once, print a line about it, and return whether it is green."""
    started = time.monotonic()
    command = [sys.executable, "-m", "dal.cli", "check", "--dsn", conninfo, "--format", "github", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    outcome = (
        f"{'green' if done.returncode == 0 else f'status {done.returncode}'} in {time.monotonic() - started:.0f} s"
    )
    lines = [line.rpartition("::")[2] for line in done.stdout.splitlines()] or done.stderr.splitlines()
    print(f"{run:>2}: {outcome}: {'; '.join(lines)} (load {os.getloadavg()[0]:.1f})", flush=True)
    return done.returncode == 0


def main() -> None:
    """Run all rounds; print the outcome of each run and a summary."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--server", default="embedded")
    arguments, options = parser.parse_known_args()
    runs = arguments.rounds * CONCURRENT_RUNS
    busy = [multiprocessing.Process(target=work, args=(os.getpid(),), daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in busy:
        process.start()
    with serve(arguments.server) as server, ThreadPoolExecutor(CONCURRENT_RUNS) as pool:
        green = sum(pool.map(partial(check, server.conninfo, options), range(1, runs + 1)))
    print(f"{green} of {runs} green on {server}")
    sys.exit(green != runs)


if __name__ == "__main__":
    main()
