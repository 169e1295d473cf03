"""The ports' verbs called from an event loop: in a few threads, so that the loop never waits; again and again while a
server is away, which every verb allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from crawler.error import BackendError

T = TypeVar("T")
log = logging.getLogger("crawler.backend")

THREADS = 4
"""Lease, fetched, commit, and one for robots records."""
WAIT_S = 0.05
WAIT_MAX_S = 5.0
"""Wait between two tries while a server is away: doubles from the first to the second."""


class Caller:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="port")

    async def __call__(self, verb: Callable[[], T]) -> T:
        """What `verb` returns, at last. Cancelling stops the waiting, not a verb that is under way."""
        wait_s = WAIT_S
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, verb)
            except BackendError as error:
                log.warning("%s; trying again in %.2g s", error, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, WAIT_MAX_S)

    def close(self) -> None:
        self._threads.shutdown()
