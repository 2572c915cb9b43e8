"""New ids are ULIDs of the current time, unique across threads and forked processes."""

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from ulid import ULID, base32

from dal import ids

MANY = 20_000


def test_an_id_is_a_ulid_of_the_current_time():
    before = time.time_ns() // 1_000_000
    made = ULID.from_str(ids.new_id())
    assert before <= made.milliseconds <= time.time_ns() // 1_000_000


def test_ids_sort_by_time():
    made = []
    for _ in range(20):
        made.append(ids.new_id())
        time.sleep(0.001)
    assert made == sorted(made)


def test_digits_of_the_random_part_are_evenly_distributed():
    digits = Counter("".join(ids.new_id()[10:] for _ in range(MANY)))
    assert "".join(sorted(digits)) == base32.ENCODE
    assert max(digits.values()) < min(digits.values()) * 1.2


def test_ids_from_several_threads_are_unique():
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: ids.new_id(), range(MANY)))
    assert len(set(made)) == MANY
    assert len({one[10:] for one in made}) == MANY, "the random parts differ too"


FORKS = """
import os
from dal.ids import new_id
new_id()  # Random bits drawn in advance would be shared after the fork.
is_child = os.fork() == 0
for _ in range(100):
    os.write(1, new_id()[10:].encode() + b"\\n")
is_child or os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_ids_of_a_forked_process_are_unique():
    made = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True).stdout.split()
    assert (len(made), len(set(made))) == (200, 200)
