"""gevent: greenlets are killed or time out; the pool keeps all its connections, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

import dal
from faults.check import Verdict

pytest.importorskip("gevent", reason="gevent is not installed")
PROGRAM = Path(__file__).with_name("greenlets.py")


@pytest.mark.parametrize("target", ["store", "writer"])
def test_greenlets_are_killed_while_they_append(cluster, tally, scale, target):
    conninfo = make_conninfo(cluster.conninfo, application_name=f"greenlets {target}")
    with cluster.connect() as connection:
        dal.SessionStore(connection).apply_schema()
    done = subprocess.run(
        [sys.executable, PROGRAM, conninfo, target, str(scale(20, 1000))],
        capture_output=True,
        text=True,
        timeout=scale(120, 1200),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["errors"] == []
    with cluster.connect() as connection:
        rows = connection.execute(
            "SELECT session_id, sequence, message_id FROM messages WHERE session_id LIKE %s ORDER BY 1, 2",
            [f"greenlets {target}%"],
        ).fetchall()
    stored = {message_id: sequence for _, sequence, message_id in rows}
    acknowledged = dict(outcome["acknowledged"])
    numbers = {}
    for session_id, sequence, _ in rows:
        numbers.setdefault(session_id, []).append(sequence)
    verdict = Verdict(
        len(acknowledged),
        len(rows) - len(acknowledged),
        lost=[one for one, sequence in acknowledged.items() if stored.get(one) != sequence],
        duplicated=[None] * (len(rows) - len(stored)),
        gaps=[session_id for session_id, taken in numbers.items() if taken != list(range(len(taken)))],
    )
    tally.add(f"greenlets killed, or out of time: {target}", outcome["interrupted"], verdict)
    assert verdict.is_sound, verdict
