# Generated from dal/_async/pipelines.py by .ci/async_to_sync.py: change that file, and run it.
"""A pipeline in every process and event loop that uses it."""

from __future__ import annotations

from functools import partial
from typing import Any

from dal._sync.per_scope import PerScope
from dal._sync.pipeline import Pipeline
from dal._sync.queries import Query
from dal._sync.runner import Runner
from dal.retries import Attempts


class Pipelines(Runner):
    """Sends operations together with those of the same process and event loop, on whose pool they go."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pipelines = PerScope("pipeline", partial(Pipeline, *arguments, **options))

    @property
    def here(self) -> Pipeline:
        """The pipeline of this process and event loop."""
        return self._pipelines.get()

    def _run(self, query: Query, parameters: dict[str, Any], attempts: Attempts) -> Any:
        return self.here._run(query, parameters, attempts)  # noqa: SLF001 - it is a runner too

    def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was."""
        self._pipelines.close()
