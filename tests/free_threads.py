"""Many threads at once, for test_package: what it runs on an interpreter without a GIL.

Takes a connection string and a schema with the tables; prints how many messages were appended.
"""

import sys
import threading

import dal

THREADS, ROUNDS = 16, 20


def append_in_threads(store, way):
    """Append from all threads to a session each and to one that they share; return the acknowledged numbers."""
    acknowledged = {}
    own, shared = [store.session(f"{way}-{n}") for n in range(THREADS)], store.session(f"{way}-shared")
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


def stored(store, way):
    names = [*(f"{way}-{n}" for n in range(THREADS)), f"{way}-shared"]
    return {(name, message.sequence): message.content for name in names for message in store.session(name).stream()}


with dal.SessionStore.connect(*sys.argv[1:2], schema=sys.argv[2], max_size=8) as store:
    appended = append_in_threads(store, "store")
    assert appended == stored(store, "store")
    with store.writer() as writer:
        through_writer = append_in_threads(writer, "writer")
    assert through_writer == stored(store, "writer")
assert not sys._is_gil_enabled(), "a module has turned the GIL on"
sys.stdout.write(str(len(appended) + len(through_writer)))
