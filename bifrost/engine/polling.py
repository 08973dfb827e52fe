"""Waits for a job that a provider works on after its request has ended."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CANCEL_LIMIT: Final = 5.0
"""How long the request that cancels a job may take, in seconds, when its caller leaves."""


class Job(Protocol):
    """What a provider reports about a job."""

    @property
    def is_ended(self) -> bool:
        """Whether the provider has finished working on it."""
        ...


JobT = TypeVar("JobT", bound=Job)


async def until_ended(
    retrieve: Callable[[], Awaitable[JobT]], cancel: Callable[[], Awaitable[Any]], *, interval: float
) -> JobT:
    """Retrieve a job until it has ended, and return it. A caller that is cancelled cancels the job."""
    try:
        job = await retrieve()
        while not job.is_ended:
            await anyio.sleep(interval)
            job = await retrieve()
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(CANCEL_LIMIT, shield=True), suppress(Exception):
            await cancel()
        raise
    return job
