"""The thread in which everything about RabbitMQ happens: heartbeats are answered whatever the callers do meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from crawler.error import BackendError

T = TypeVar("T")
Answer = SimpleQueue[tuple[bool, Any]]
"""Whether it returned, and what it returned or raised."""

MARGIN_S: Final = 5.0
"""Each step of a verb has a time limit of its own; this is for their sum."""
CLOSE_S_MAX: Final = 10.0


class Thread:
    """A loop in a thread, from the first `run` to `close`. Not to be used in a forked child."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._asked: set[Answer] = set()

    @property
    def began(self) -> bool:
        return self._loop is not None

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """What the coroutine returns or raises; BackendError when it takes too long."""
        # asyncio's own way makes two futures and chains them: twice the cost.
        answer: Answer = SimpleQueue()
        tasks: list[asyncio.Task[None]] = []
        try:
            loop = self._begin(lambda: tasks.append(asyncio.create_task(_tell(work, answer))), answer)
        except BackendError:
            work.close()
            raise
        try:
            returned, told = answer.get(timeout=timeout_s + MARGIN_S)
        except Empty:
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
            raise BackendError(f"RabbitMQ did not answer within {timeout_s + MARGIN_S:g} s") from None
        finally:
            self._asked.discard(answer)
        if isinstance(told, asyncio.CancelledError):
            raise BackendError("RabbitMQ: closed while it was used")
        if not returned:
            raise told
        found: T = told
        return found

    def _begin(self, work: Callable[[], None], answer: Answer) -> asyncio.AbstractEventLoop:
        """In the loop, which begins when it was not; before anything that `close` does there."""
        if self._pid != os.getpid():
            raise BackendError("RabbitMQ: connected before a fork and used after it")
        with self._lock:
            if self._closed:
                raise BackendError("RabbitMQ: used after close()")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="rabbit", daemon=True)
                self._thread.start()
            self._asked.add(answer)
            self._loop.call_soon_threadsafe(work)
            return self._loop

    def close(self) -> None:
        """End the loop and what still runs in it. Safe to repeat."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop)
        loop.call_soon_threadsafe(loop.call_later, 0.01, loop.stop)
        thread.join(CLOSE_S_MAX)
        if not thread.is_alive():
            loop.close()
        for answer in tuple(self._asked):  # what did not end in time, or at all
            answer.put((False, asyncio.CancelledError()))


async def _tell(work: Coroutine[Any, Any, Any], answer: Answer) -> None:
    try:
        answer.put((True, await work))
    except BaseException as error:
        answer.put((False, error))


async def _end_tasks() -> None:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()
