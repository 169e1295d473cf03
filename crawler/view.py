"""What the queues say of themselves: counts, hosts, workers, where a request is, and how pages ended. All frozen, none
with I/O."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec

from crawler.model import Request, Robots


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The frontier's state in numbers: read from counters kept inside the transitions, never by counting rows."""

    ready: int = 0
    """Waiting, due by time (host politeness aside). Suspects are not in it."""
    delayed: int = 0
    revisits: int = 0
    """Of the delayed: later visits that were not due yet at the last look. The crawl does not wait for them."""
    leased: int = 0
    """Pages under lease; robots.txt leases are not counted anywhere here."""
    suspects: int = 0
    dead: int = 0
    done: int = 0
    """All Done outcomes, including redirects and robots refusals."""
    pages: int = 0
    """Done outcomes with an empty reason: pages processed."""
    items: int = 0
    bytes: int = 0
    added: int = 0
    """Requests ever admitted. Invariant: added = ready + delayed + leased + suspects + dead + done + dropped."""
    dropped: int = 0
    """Dead letters removed by `drop`, and pending requests by `purge`."""
    retries: int = 0
    crashes: int = 0
    """Crashes charged."""
    hosts: int = 0
    producers_open: int = 0
    producers_closed: int = 0
    producers_lost: int = 0
    reasons: dict[str, int] = {}
    """`done:redirect`, `retry:http_503`, `bury:http_404` … -> how often."""


class Finish(Enum):
    """Whether a crawl is over."""

    RUNNING = "running"
    FINISHED = "finished"
    """Nothing pending, no producer open, at least one closed."""
    INCOMPLETE = "incomplete"
    """Nothing pending, but a producer died before it closed: seeds may be missing."""
    LIMIT = "limit"
    """`pages_max` or `bytes_max` is reached and nothing is leased; pages may still wait."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet knows of a host."""

    name: str
    delay_s: float | None = None
    """This host's own delay; None: the crawl's."""
    per_host: int | None = None
    """This host's own cap of requests in flight; None: the crawl's."""
    crawl_delay_s: float = 0.0
    """What its robots.txt asks for."""
    latency_s: float = 0.0
    """How long its fetches take, smoothed; 0: not known, or of no use without a delay."""
    slow: int = 0
    """Steps that it is slowed down, because it said that it is asked too much."""
    pace_s: float = 0.0
    """Its delay as it is now, all told."""
    pacer: Literal["", "crawl", "own", "robots", "latency", "slow"] = ""
    """What decides on it; empty without a delay."""
    paused_s: float = 0.0
    """Seconds until it may be asked again; 0 when it may now."""
    failures: int = 0
    """Host failures in a row."""
    down: bool = False
    """At `host_failures_max`: its pages are being buried as `host_down` until `kick(host=…)`."""
    ready: int = 0
    in_flight: int = 0
    """Leased and not yet fetched."""
    delayed: int = 0
    dead: int = 0
    done: int = 0
    """All Done outcomes; what rises between two looks is the host's rate."""
    robots: tuple[Robots, ...] = ()


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One worker as the store saw it last."""

    name: str
    leased: int = 0
    pages: int = 0
    """Outcomes settled by it."""
    seen_ms: int = 0


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    ready: int = 0
    delayed: int = 0
    leased: int = 0
    suspects: int = 0
    dead: int = 0
    done: int = 0
    oldest_ready_s: float = 0.0


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data of a `log` record: one outcome of one page."""

    fingerprint: int
    outcome: Literal["done", "retry", "bury"]
    reason: str = ""
    detail: str = ""
    status: int = 0
    """HTTP status; 0 when there was no response."""
    seconds: float = 0.0
    """Fetch time."""
    bytes: int = 0
    items: int = 0
    links: int = 0
    """Requests found in scope."""
    attempt: int = 1
    depth: int = 0
    worker: str = ""
    method: str = "parse"
    """Of the spider: what the page went to (`Request.to`)."""
    etag: str = ""
    """As in `Before`, for the page's next visit; likewise the three below. The hashes only when pages are revisited."""
    modified: str = ""
    body: int = 0
    items_hash: int = 0
    simhash: int = 0
    """64-bit simhash of the page's text (`crawler.simhash`); 0: not made."""
    near: str = ""
    """URL of a page of the same host whose text is nearly the same."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request is."""

    fingerprint: int
    state: Literal["unseen", "ready", "delayed", "leased", "suspect", "dead", "done"]
    """`done`: seen and in no other place, so also one that was dropped or purged."""
    request: Request | None = None
    """As admitted; None for `unseen` and `done`, of which only the fingerprint is kept. Of a damaged record only the
    host is known: its home page stands in."""
    host: str = ""
    """As asked for, also when `unseen` or `done`."""
    attempts: int = 0
    crashes: int = 0
    ahead: int = 0
    """ready: how many requests of its host go first."""
    due_s: float | None = None
    """delayed: seconds until it becomes ready; leased: until the lease would lapse. 0 when that is over, else None."""
    worker: str = ""
    """leased: who holds it."""
    reason: str = ""
    """dead: why; `detail` and `died_ms` likewise."""
    detail: str = ""
    died_ms: int = 0


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a frontier; the embedded ones have one."""

    number: int
    counts: Counts
    oldest_s: float = 0.0
    """How long the host that is due for longest has been waiting to be asked; 0: none is due. Only hosts with ready
    requests that could give one now but for time count: not those that are down, without room, or asked for robots."""
    next_due_s: float | None = None
    """Seconds until such a host or a delayed request becomes due; 0: one is; None: none will by time alone. Lapses of
    leases do not count."""
    place: str = ""
    """The server it lives on, as `host:port`; empty for the embedded ones."""
    memory_bytes: int = 0
    """What the server says it uses in all (not this shard alone); 0: not known."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one request, for `crawler monitor`."""

    at_ms: int
    what: Literal["added", "leased", "done", "retry", "bury", "suspect", "released", "kicked", "dropped", "purged"]
    url: str
    host: str = ""
    worker: str = ""
    reason: str = ""
