"""Append from many threads. test_package runs this as a program, on an interpreter without a GIL.

Arguments: a connection string, and a schema with the tables. Prints the number of appended messages.
"""

import sys
import threading

import dal

THREADS, ROUNDS = 16, 20


def append_in_threads(store, prefix):
    """Append from each thread to its own session and to a shared one; return the acknowledged contents by number."""
    acknowledged = {}
    own, shared = [store.session(f"{prefix}-{n}") for n in range(THREADS)], store.session(f"{prefix}-shared")
    lock, start = threading.Lock(), threading.Barrier(THREADS)

    def append(n):
        start.wait()
        for number in range(ROUNDS):
            content = f"{n}-{number}"
            for session in (own[n], shared):
                message = session.append("user", content)
                with lock:
                    acknowledged[message.session_id, message.sequence] = content

    threads = [threading.Thread(target=append, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return acknowledged


def stored(store, prefix):
    names = [*(f"{prefix}-{n}" for n in range(THREADS)), f"{prefix}-shared"]
    return {(name, message.sequence): message.content for name in names for message in store.session(name).stream()}


with dal.SessionStore.connect(*sys.argv[1:2], schema=sys.argv[2], max_size=8) as store:
    appended = append_in_threads(store, "store")
    assert appended == stored(store, "store")
    with store.writer() as writer:
        through_writer = append_in_threads(writer, "writer")
    assert through_writer == stored(store, "writer")
assert not sys._is_gil_enabled(), "an imported module enabled the GIL"
sys.stdout.write(str(len(appended) + len(through_writer)))
