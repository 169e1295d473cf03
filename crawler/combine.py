"""Flat combining: of the threads that want something done one at a time, one does it for all that wait.

D. Hendler et al., "Flat Combining and the Synchronization-Parallelism Tradeoff", SPAA 2010. Here it turns the writes of
several threads into one transaction, without a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C")


class Operation(Generic[C, T]):
    """A call that waits for its turn, and how it ended."""

    __slots__ = ("call", "ended", "error", "leads", "result", "woken")

    def __init__(self, call: Callable[[C], T]) -> None:
        self.call = call
        self.result: T | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.ended = False
        self.woken = threading.Lock()
        self.woken.acquire()

    def fail(self, error: BaseException) -> None:
        """Its first error counts."""
        if self.error is None:
            self.error = error

    def outcome(self) -> T:
        """The result, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # None only where T allows it


class Combiner(Generic[C]):
    """`serve` gets batches of operations, one batch at a time, in the thread of one of them. It sets each one's
    `result` or calls `fail`; when it raises, those that have not failed yet fail with that error."""

    def __init__(self, serve: Callable[[list[Operation[C, Any]]], None]) -> None:
        self._serve = serve
        self._mutex = threading.Lock()
        self._waiting: list[Operation[C, Any]] = []
        self._led = False

    def run(self, call: Callable[[C], T]) -> T:
        """Returns what `call` returns, or raises what it raises."""
        mine: Operation[C, T] = Operation(call)
        with self._mutex:
            self._waiting.append(mine)
            lead = not self._led
            self._led = True
        if not lead:
            try:
                mine.woken.acquire()
            except BaseException:
                self._abandon(mine)
                raise
            lead = not mine.ended
        if lead:
            self._lead()
        return mine.outcome()

    def _lead(self) -> None:
        with self._mutex:
            batch, self._waiting = self._waiting, []
        try:
            self._serve(batch)
        except BaseException as error:
            for one in batch:
                one.fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            for one in batch:
                one.ended = True
                one.woken.release()
            with self._mutex:
                self._hand_over()

    def _hand_over(self) -> None:
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].woken.release()
        else:
            self._led = False

    def _abandon(self, mine: Operation[C, Any]) -> None:
        """The thread was interrupted while it waited: it must not stay next in line."""
        with self._mutex:
            if mine in self._waiting:
                self._waiting.remove(mine)
                if mine.leads:
                    self._hand_over()
