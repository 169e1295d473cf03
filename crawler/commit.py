"""The order in which a page becomes durable: items, then found links, then its settlement.

A crash between two steps only repeats the page: item ids are deterministic, the frontier knows the links already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from crawler.error import BackendError
from crawler.exchange import Exchange
from crawler.frontier import Frontier
from crawler.keeper import Keeper
from crawler.known import Known
from crawler.model import LOG_KIND, Lease, Message, Outcome, Record, Request, Settlement
from crawler.url import fingerprint, visit_print
from crawler.view import LogEntry


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One lease's work, finished and not yet committed."""

    lease: Lease
    outcome: Outcome
    messages: tuple[Message, ...] = ()
    found: tuple[Request, ...] = ()
    entry: LogEntry | None = None
    ended_at: str = ""
    """RFC 3339, UTC."""
    tell: Callable[[Frontier], None] | None = None
    """What the frontier is told once the messages are safe and before the lease ends; safe to repeat."""


class Committer:
    """Commits batches; blocking, so it runs in a thread of the worker's pool."""

    def __init__(self, frontier: Frontier, exchange: Exchange, keeper: Keeper, known: Known, *, spider: str) -> None:
        self._frontier = frontier
        self._exchange = exchange
        self._keeper = keeper
        self._known = known
        self._spider = spider
        self._epoch = frontier.epoch()

    def commit(self, batch: Sequence[Ended]) -> int:
        """Publish, add, settle; returns how many settlements were current. Work whose lease was lost is dropped whole.
        Cost: three trips at most, whatever the size of the batch, and one for each `tell`. Raises BackendError: repeat
        the same batch."""
        try:
            return self._commit(batch)
        except BackendError:
            self._known.clear()  # a store that was away may come back without its last writes
            raise

    def _commit(self, batch: Sequence[Ended]) -> int:
        epoch = self._frontier.epoch()
        if epoch != self._epoch:  # the store may have lost its last writes: what it knew is not known any more
            self._known.clear()
            self._epoch = epoch
        held = [ended for ended in batch if self._keeper.holds(ended.lease.token)]
        messages = [message for ended in held for message in self._messages(ended)]
        if messages:
            self._exchange.publish(messages)
        for ended in held:
            if ended.tell is not None:
                ended.tell(self._frontier)
        found = self._unknown(held)
        if found:
            self._frontier.add(tuple(found.values()))
            self._known.update(found)
        stale: Sequence[str] = ()
        if held and self._frontier.epoch() != epoch:
            raise BackendError("the frontier's server went away between links and settlement: both again")
        if held:
            stale = self._frontier.settle([Settlement(ended.lease.token, ended.outcome) for ended in held])
        self._keeper.drop(ended.lease.token for ended in batch)
        return len(held) - len(stale)

    def _messages(self, ended: Ended) -> Iterable[Message]:
        yield from ended.messages
        if ended.entry is not None:
            token = ended.lease.token
            yield Message(
                id=token,
                kind=LOG_KIND,
                url=ended.lease.request.url,
                fetched_at=ended.ended_at,
                spider=self._spider,
                visit=ended.lease.request.visit,
                records=(Record(token, msgspec.Raw(msgspec.json.encode(ended.entry))),),
            )

    def _unknown(self, batch: Sequence[Ended]) -> dict[int, Request]:
        """Found requests by `visit_print`, each once, without those that the frontier is known to know."""
        found: dict[int, Request] = {}
        for ended in batch:
            for request in ended.found:
                print_ = visit_print(request) if request.visit else fingerprint(request)
                if print_ not in self._known:
                    found.setdefault(print_, request)
        return found
