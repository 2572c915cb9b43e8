"""A program that closes nothing ends at once, and prints nothing."""

import subprocess
import sys

import pytest

USED = """
import asyncio, sys, threading, time
import dal

conninfo, schema, end = sys.argv[1:]
"""
SYNC = """
store = dal.SessionStore.connect(conninfo, schema=schema)
writer = store.writer()

def append():
    while True:
        writer.session("s").append("user", "x")

store.session("s").append("user", "x")
writer.session("s").append("user", "x")
for _ in range(3):
    threading.Thread(target=append, daemon=True).start()
time.sleep(0.2)
"""
ASYNC = """
store = dal.AsyncSessionStore.connect(conninfo, schema=schema)
writer = store.writer()

async def main():
    await asyncio.gather(*(writer.session().append("user", "x") for _ in range(20)))
    await asyncio.gather(*(store.session().append("user", "x") for _ in range(20)))
    if end == "sys.exit(3)":
        sys.exit(3)

asyncio.run(main())
"""


@pytest.mark.parametrize("development", [[], ["-X", "dev"]], ids=["", "dev"])
@pytest.mark.parametrize("end", ["", "sys.exit(3)"])
@pytest.mark.parametrize("kind", [SYNC, ASYNC], ids=["threads", "tasks"])
def test_a_program_ends_without_a_word(server, schema, tables, kind, end, development):  # noqa: PLR0917
    command = [sys.executable, *development, "-c", f"{USED}{kind}{end}", server.conninfo, schema, end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # The driver's pool logs that it was cancelled while it connected.
    said = [line for line in done.stderr.splitlines() if not line.startswith("error connecting in 'pool-")]
    assert (done.returncode, done.stdout, said) == (3 if end else 0, "", [])
