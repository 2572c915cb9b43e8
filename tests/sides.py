"""One interface to the synchronous and the asynchronous side, so that one test covers both."""

import asyncio
import inspect
import threading

import psycopg
import psycopg_pool

import dal


class SyncSide:
    """The synchronous interface."""

    name = "sync"
    queries = dal.queries

    def connect(self, conninfo, **options):
        return psycopg.connect(conninfo, **options)

    def pool(self, conninfo, **options):
        return psycopg_pool.ConnectionPool(conninfo, open=True, **options)

    def store(self, source, **options):
        return dal.SessionStore(source, **options)

    def connect_store(self, conninfo, **options):
        return dal.SessionStore.connect(conninfo, **options)

    def call_concurrently(self, operations):
        """Call each operation in its own thread; return the results, or the library's errors."""
        outcomes = [None] * len(operations)

        def call(n):
            try:
                outcomes[n] = operations[n]()
            except dal.DalError as error:
                outcomes[n] = error

        threads = [threading.Thread(target=call, args=(n,)) for n in range(len(operations))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        return outcomes

    def close(self):
        pass


class AsyncSide:
    """The asynchronous interface; each call is awaited in this object's event loop."""

    name = "async"

    def __init__(self):
        self.loop = asyncio.Runner()
        self.queries = Blocking(self, dal.async_queries)

    def connect(self, conninfo, **options):
        return self.wrap(psycopg.AsyncConnection.connect(conninfo, **options))

    def pool(self, conninfo, **options):
        async def make():
            pool = psycopg_pool.AsyncConnectionPool(conninfo, open=False, **options)
            await pool.open()
            return pool

        return self.wrap(make())

    def store(self, source, **options):
        return self.wrap(dal.AsyncSessionStore(unwrap(source), **options))

    def connect_store(self, conninfo, **options):
        return self.wrap(dal.AsyncSessionStore.connect(conninfo, **options))

    def call_concurrently(self, operations):
        """Call each operation in its own task; return the results, or the errors."""

        async def gather():
            return await asyncio.gather(*(operation() for operation in operations), return_exceptions=True)

        return self.loop.run(gather())

    def close(self):
        self.loop.close()

    def wrap(self, value):
        if inspect.iscoroutine(value):
            value = self.loop.run(value)
        if inspect.isasyncgen(value):
            return BlockingIterator(self, value)
        wrapped = (
            dal.AsyncSession,
            dal.AsyncSessionStore,
            psycopg.AsyncConnection,
            psycopg_pool.AsyncConnectionPool,
            type(dal.async_queries),
            type(dal.async_queries.messages),
        )
        if isinstance(value, wrapped) or hasattr(value, "__aenter__"):
            return Blocking(self, value)
        return value


class Blocking:
    """An asynchronous object whose methods wait for their results."""

    def __init__(self, side, inner):
        self.__dict__.update(_side=side, inner=inner)

    def __getattr__(self, name):
        value = getattr(self.inner, name)
        if not callable(value):
            return self._side.wrap(value)

        def call(*args, **options):
            return self._side.wrap(value(*map(unwrap, args), **options))

        return call

    def __setattr__(self, name, value):
        setattr(self.inner, name, value)

    def __enter__(self):
        return self._side.wrap(self._side.loop.run(self._aenter()))

    def __exit__(self, *error):
        return self._side.loop.run(self._aexit(*error))

    async def _aenter(self):
        return await self.inner.__aenter__()

    async def _aexit(self, *error):
        return await self.inner.__aexit__(*error)


class BlockingIterator:
    """A blocking iterator over an asynchronous generator."""

    def __init__(self, side, inner):
        self._side, self._inner = side, inner

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._side.loop.run(anext(self._inner))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self):
        self._side.loop.run(self._inner.aclose())


def unwrap(value):
    return value.inner if isinstance(value, Blocking) else value


def pool_of(store, *, standby=False):
    """Return the store's own pool, or that of its standby; on the asynchronous side, that of its event loop."""
    backend = unwrap(store)._backend
    source = (backend.standby.runner if standby else backend.runner).source

    async def pool():
        return source._pool

    return store._side.loop.run(pool()) if isinstance(store, Blocking) else source._pool
