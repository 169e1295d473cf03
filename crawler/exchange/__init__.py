"""The exchange port: messages are published once and copied to every bound pipeline's own queue.

Each queue is the same lease machine as the frontier's (`crawler/frontier/__init__.py` rules 2-6): tokens fence,
repeating a request_id returns what is still current, a delivery whose consumer died is a suspect and is delivered last
and alone, only a death in that state is a crash, `crashes_max` crashes bury with reason `crashed`, `forfeit` ends a
dead consumer's. What a consumer holds is weighed queue by queue: one consumer serves one queue.

Routing (`exchange.type`):
- fanout: every queue gets every message, except that `log` messages go to the `history` queue alone and it gets no
  others;
- direct: a queue gets the kinds named in its `bind`;
- topic: a queue gets the kinds that match one of its patterns: words separated by `.`, `*` is exactly one word, `#` any
  number of words, also none (AMQP 0-9-1 topic exchange).
With direct and topic the history queue is bound to `log` alone; a pattern `#` of another queue does not take `log`.
Likewise, with every type, raw pages (`raw.page`) go to the queues whose `bind` names that kind; those get no others.

A message id that is already in a queue is not queued again; one that left it (stored) may be: stores are idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from crawler.model import DeadItem, Delivery, Message, Queue, Settlement
from crawler.view import QueueCounts

HISTORY = "history"
"""Name of the built-in history pipeline's queue."""


class Exchange(Protocol):
    """All verbs raise BackendError when the store cannot answer; repeating any of them is then safe. Thread-safe."""

    def declare(self, queues: Sequence[Queue]) -> None:
        """Make the queues exist, bound as given. Both sides declare every queue named in settings. Idempotent; a
        changed `bind` counts from now on."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Returns when every bound queue has them safe. One trip."""

    def lease(
        self, queue: str, count: int, *, consumer: str, request_id: str, bytes_max: int = 0
    ) -> tuple[Delivery, ...]:
        """Promise up to `count` messages, oldest first, of `bytes_max` bytes together (0: of any number), as they are
        stored; one that is larger comes alone. One trip; never waits."""

    def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        """End deliveries (Done, Retry(delay_s), Bury); returns the stale tokens. A message is gone when every queue
        has ended it. Retry(blame="host") means the store's fault: nothing is charged. One trip."""

    def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """Extend to a full lease from now; returns those lost."""

    def release(self, tokens: Sequence[str]) -> None:
        """Give back unstarted: nothing charged."""

    def forfeit(self, consumer: str) -> int:
        """This consumer is dead: end its deliveries now. Returns how many."""

    def counts(self) -> dict[str, QueueCounts]:
        """By queue. Never empty while somebody holds something. On a broker, `done` is what the consumers that are
        alive have done, and `oldest_ready_s` 0 for a queue that nobody consumes: it does not tell more."""

    def unrouted(self) -> int:
        """Messages that no queue was bound to, as far as they are kept: on a broker the last 100 MB, else none."""

    def dead(
        self, *, queue: str | None = None, reason: str | None = None, limit: int = 100, after: int = 0
    ) -> tuple[DeadItem, ...]: ...

    def kick(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int:
        """Dead items that match all given are ready again, uncharged."""

    def drop(self, *, queue: str | None = None, reason: str | None = None, id: str | None = None) -> int: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
