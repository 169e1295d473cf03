"""The counters of a frontier, or of one shard."""

from __future__ import annotations

import msgspec

from crawler.frontier import LEASE_MAX
from crawler.frontier.host import HostState
from crawler.model import Rules
from crawler.view import Counts


class Totals(msgspec.Struct):
    """The counters (see `Counts`) and the few facts about the whole crawl that a lease step needs."""

    ready: int = 0
    delayed: int = 0
    leased: int = 0
    suspects: int = 0
    dead: int = 0
    done: int = 0
    pages: int = 0
    items: int = 0
    bytes: int = 0
    added: int = 0
    dropped: int = 0
    retries: int = 0
    crashes: int = 0
    hosts: int = 0
    asked_ms: int = 0
    """When lease or renew was called last, to a sixteenth of a lease."""
    grace_ms: int = 0
    """No lease lapses by time before this (rule 6)."""
    drain_worker: str = ""
    """Who takes nothing more until its hands are empty, for an overdue suspect (rule 5)."""
    drain_request: int = 0
    drain_host: int = 0
    """That suspect's host, which gives nothing else meanwhile; 0 when it may."""
    drain_ms: int = 0
    """When that worker asked last; it is given up after a lease."""
    revisits: int = 0
    """Of the delayed: later visits that were not due yet (rule 18)."""
    scan: int = 0
    """How many of the due hosts, first to last, the next call passes over: their domains were full (rule 16)."""

    def room(self, rules: Rules) -> int:
        """How many leases the limits allow (rule 12)."""
        if rules.bytes_max and self.bytes >= rules.bytes_max:
            return 0
        return max(0, rules.pages_max - self.pages - self.leased) if rules.pages_max else LEASE_MAX

    def stop_drain(self) -> None:
        self.drain_worker, self.drain_request, self.drain_host = "", 0, 0

    def start_drain(self, worker: str, request: int, host: HostState, rules: Rules) -> None:
        self.drain_worker, self.drain_request = worker, request
        self.drain_host = host.id if host.limited(rules) else 0

    def counts(self, reasons: dict[str, int], producers: dict[str, int]) -> Counts:
        return Counts(
            ready=self.ready,
            delayed=self.delayed,
            revisits=self.revisits,
            leased=self.leased,
            suspects=self.suspects,
            dead=self.dead,
            done=self.done,
            pages=self.pages,
            items=self.items,
            bytes=self.bytes,
            added=self.added,
            dropped=self.dropped,
            retries=self.retries,
            crashes=self.crashes,
            hosts=self.hosts,
            producers_open=producers.get("open", 0),
            producers_closed=producers.get("closed", 0),
            producers_lost=producers.get("lost", 0),
            reasons=reasons,
        )
