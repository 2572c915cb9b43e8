"""A pipeline in every process and event loop that uses it."""

from __future__ import annotations

from functools import partial
from typing import Any

from dal._async.per_scope import AsyncPerScope
from dal._async.pipeline import AsyncPipeline
from dal._async.queries import AsyncQuery
from dal._async.runner import AsyncRunner
from dal.retries import Attempts


class AsyncPipelines(AsyncRunner):
    """Sends operations together with those of the same process and event loop, on whose pool they go."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pipelines = AsyncPerScope("pipeline", partial(AsyncPipeline, *arguments, **options))

    @property
    def here(self) -> AsyncPipeline:
        """The pipeline of this process and event loop."""
        return self._pipelines.get()

    async def _run(self, query: AsyncQuery, parameters: dict[str, Any], attempts: Attempts) -> Any:
        return await self.here._run(query, parameters, attempts)  # noqa: SLF001 - it is a runner too

    async def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was."""
        await self._pipelines.close()
