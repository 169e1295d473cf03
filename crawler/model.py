"""The values that travel: between spider, frontier, exchange and stores. All frozen, none with I/O.

Times are integers in milliseconds of the store's clock (`_ms`) or seconds as floats (`_s`); sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

PRIORITY_MAX = 9
"""Highest priority of a request; 0 is the lowest and the default."""


class Before(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a page's next visit must know of the last one. It rides in the request, so that nothing is looked up."""

    etag: str = ""
    """ETag as the server gave it, for If-None-Match (RFC 9110 §13.1.2)."""
    modified: str = ""
    """Last-Modified as the server gave it, for If-Modified-Since (RFC 9110 §13.1.3)."""
    body: int = 0
    """64-bit hash of the body; 0: not known."""
    items: int = 0
    """64-bit hash of the items; 0: not known."""
    wait_s: float = 0.0
    """How long the page waited for this visit; 0: not known."""


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page wanted. `url` must be canonical already (`crawler.url.canonical`): equal pages are equal strings."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    to: str = "parse"
    """Name of the spider method that gets the page."""
    depth: int = 0
    """Links followed since the seed."""
    redirected_from: tuple[str, ...] = ()
    """The URLs that redirected here, first to last: their number is bounded, and a repeat among them is a loop."""
    priority: int = 0
    """0 to `PRIORITY_MAX`; higher goes first within a host."""
    not_before_ms: int = 0
    """Not leased before this time of the store's clock."""
    visit: int = 0
    """Rises only when a page is deliberately crawled again, never by a retry or a crash."""
    before: Before | None = None
    """Of a later visit: what the one before found."""
    meta: dict[str, Any] = {}
    """The spider's own JSON values; nothing else reads them."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A request promised to one worker for a limited time."""

    token: str
    """`request_id:index`; fences off a late worker."""
    request: Request
    fingerprint: int
    """Of the request's visit (`crawler.url.visit_print`)."""
    host: str
    attempts: int = 0
    """Times the page failed before."""
    crashes: int = 0
    """Times a worker died holding this page and nothing else."""
    alone: bool = False
    """A suspect: the worker must take nothing more until this is settled."""
    robots: bool = False
    """The request is the origin's robots.txt: no page, not counted, not in the seen set."""
    robots_ms: int = 0
    """Stamp of the origin's valid robots record (its `fetched_ms`); 0 when robots are not obeyed."""


class Leased(msgspec.Struct, frozen=True):
    """What `Frontier.lease` gave. No leases and `next_due_s` None: nothing will become due by time alone."""

    leases: tuple[Lease, ...] = ()
    next_due_s: float | None = None
    """Seconds until asking again makes sense; None: only another worker's settle or add can change anything."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The page is finished. `reason` is empty for a page that was processed, or `redirect`, `robots`, …"""

    reason: str = ""
    bytes: int = 0
    """Body size as counted for the crawl's totals."""
    items: int = 0
    fetched: bool = True
    """False: the host was not asked, so no delay starts."""


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """Again after `delay_s`. `blame="page"` counts an attempt; `blame="host"` charges the host, which backs off
    by its own rule (`delay_s` is then the least pause: Retry-After), and the page goes to its place uncharged."""

    delay_s: float
    reason: str
    blame: Literal["page", "host"] = "page"


class Bury(msgspec.Struct, frozen=True, tag="bury"):
    """To the dead letters, with a reason (short, machine-readable: `http_404`) and a detail for people."""

    reason: str
    detail: str = ""
    fetched: bool = True
    """False: the host was not asked, so no delay starts."""


Outcome = Done | Retry | Bury
"""The only three ends of a lease, and of a delivery."""


class Settlement(msgspec.Struct, frozen=True):
    token: str
    outcome: Outcome


class Added(msgspec.Struct, frozen=True):
    """What `Frontier.add` did with a batch, as counts. `full`: nothing was admitted, because the frontier is at
    `pending_max` and the caller is a producer: wait and repeat the same batch."""

    new: int = 0
    known: int = 0
    refused: int = 0
    """Encoded larger than `REQUEST_BYTES_MAX`."""
    full: bool = False


REQUEST_BYTES_MAX = 1 << 20
"""Largest encoded request that a frontier admits."""


class Robots(msgspec.Struct, frozen=True, kw_only=True):
    """One origin's robots.txt, shared by all workers through the host record."""

    origin: str
    """`scheme://host[:port]` as in `crawler.url.origin`."""
    text: str = ""
    """The rules; empty allows everything."""
    expires_s: float = 86_400.0
    """How long it is valid from when it is set (RFC 9309 §2.4: at most 24 hours)."""
    fetched_ms: int = 0
    """Stamp given by the store when it was set, at least 1; a new one for each `set_host`."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    request: Request
    fingerprint: int
    host: str
    reason: str
    detail: str = ""
    attempts: int = 0
    crashes: int = 0
    died_ms: int = 0


class OwnPace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the settings say of a single host; None: as for all."""

    delay_s: float | None = None
    per_host: int | None = None


class CrawlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A crawl's identity (name, schema, canonical, shards: never change) and notes (the rest: may)."""

    name: str
    schema: int = 1
    canonical: str = "whatwg-1"
    """Version of the canonical rules: other rules give other fingerprints. After a `+` what the settings add."""
    shards: int = 1
    spider: str = ""
    hosts: tuple[str, ...] = ()
    """Host patterns of the scope, when they came from the seeds."""
    named: tuple[str, ...] = ()
    """Hosts of the seeds that the user gave (`crawler.url.host`): the guard lets workers connect to these wherever they
    are. What pages, sitemaps on the web and messages name is not among them."""
    outputs: dict[str, str] = {}
    """Pipeline name -> what it writes to: a new one on an old crawl would miss what was stored before."""
    own: dict[str, OwnPace] = {}
    """Host -> what its record was told last (`crawler.frontier.overrides`)."""
    paused: bool = False
    created_ms: int = 0


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a frontier treats requests and hosts; the same for every process of a crawl."""

    order: Literal["fifo", "lifo"] = "fifo"
    lease_s: float = 60.0
    suspect_wait_s: float = 60.0
    crashes_max: int = 3
    pending_max: int = 0
    """Producers wait above so many ready + delayed; 0: no limit."""
    delay_s: float = 0.0
    per_host: int = 1
    """Requests in flight per host; 0: no cap; with a delay always one."""
    robots: bool = True
    """Whether an origin's first lease is its robots.txt."""
    host_failures_max: int = 6
    host_backoff_s: float = 1.0
    """Pause after a host's first failure; doubles with each further one."""
    host_backoff_max_s: float = 300.0
    latency_factor: float = 2.0
    """A delay grows to so many times the host's response time; 0: it does not."""
    delay_max_s: float = 60.0
    """To which a delay may grow."""
    per_domain: int = 0
    """Requests in flight over all hosts of a registrable domain; 0: no cap."""
    hours: tuple[str, ...] = ()
    """When hosts may be asked, as `crawler.hours` reads it; empty: always."""
    zone: str = ""
    """Time zone of `hours`; empty: UTC."""
    pages_max: int = 0
    """No more leases once pages + leased reach it; 0: no limit."""
    bytes_max: int = 0
    """No more leases once the counted bytes reach it; 0: no limit."""
    canonical: str = "whatwg-1"
    """Version of the canonical rules, for the record of a crawl that begins."""


class Item(msgspec.Struct, frozen=True):
    """One fact found on one page, as a spider yields it."""

    kind: str
    data: Mapping[str, Any]
    key: str | None = None
    """Identifies the item within its page and kind; None: its ordinal does."""


class Record(msgspec.Struct, frozen=True):
    """An item on its way to the stores: its id, and its data as JSON text, encoded once by the worker."""

    id: str
    data: msgspec.Raw

    def fields(self) -> dict[str, Any]:
        """The data decoded. Cost: one JSON parse a call."""
        return msgspec.json.decode(self.data, type=dict[str, Any])


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page's items of one kind, of one visit; stored whole or not at all."""

    id: str
    """Deterministic: hash(kind, page fingerprint, visit). The first one stored wins everywhere."""
    kind: str
    """Also the routing key."""
    url: str
    fetched_at: str
    """RFC 3339, UTC, milliseconds."""
    spider: str
    visit: int = 0
    records: tuple[Record, ...] = ()
    blob: bytes = b""
    """Of a raw page (`RAW_KIND`): its body as it was transferred. It rides behind the JSON, never in it."""


class Queue(msgspec.Struct, frozen=True):
    """A pipeline's own queue and what it takes."""

    name: str
    bind: tuple[str, ...] = ("#",)
    """fanout: ignored; direct: kinds; topic: patterns, `*` one word, `#` any number of words, `.` between words."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message promised to one consumer for a limited time."""

    token: str
    message: Message
    attempts: int = 0
    crashes: int = 0
    alone: bool = False
    """A suspect: the consumer must take nothing more until this is settled."""


class DeadItem(msgspec.Struct, frozen=True, kw_only=True):
    queue: str
    message: Message
    reason: str
    detail: str = ""
    attempts: int = 0
    crashes: int = 0
    died_ms: int = 0


RAW_KIND = "raw.page"
"""Kind of the messages that carry whole pages as transferred: one record, a `RawHead`, and the body as `blob`. They go
to the queues bound to this kind alone, which get no others; a crawl without such a queue publishes none."""


class RawHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data of a raw page's record: the exchange of requests and responses as it went over the wire (RFC 9112)."""

    fingerprint: int
    depth: int = 0
    via: str = ""
    """URL of the redirect that led here; empty when none did."""
    robots: bool = False
    """The origin's robots.txt was obeyed."""
    method: str = "GET"
    target: str = "/"
    """As in the request line."""
    request_headers: tuple[tuple[str, str], ...] = ()
    """As sent, in order. Without the values of Authorization, Proxy-Authorization and Cookie."""
    request_body: bytes = b""
    version: str = "1.1"
    """HTTP version of the response."""
    status: int = 0
    phrase: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """As received, in order; bytes above 127 as latin-1."""
    address: str = ""
    """IP address of the server; empty when a proxy was asked."""
    seconds: float = 0.0
    truncated: str = ""
    """Why the body is not whole: `length` (a limit of ours, as `exchange.message_bytes_max`), `time`, `disconnect`."""


LOG_KIND = "log"
"""Kind of the messages about page outcomes. They go to the `history` queue and, with fanout, to no other."""
