"""The tables of settings.toml: one frozen struct each, every key with its default and its comment.

Durations end in `_s`, sizes in `_bytes`, limits in `_max`. The docstring under a field is its comment in settings.toml
(`python -m crawler.settings_file` writes it). Constructors do not check; `crawler.settings.load` does.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
TimeoutSeconds = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
SHARDS_MAX = 1_024
"""Parts of one crawl's queue in Redis: an idle worker asks each of them."""
Positive = Annotated[int, Meta(ge=1, le=10**15)]


def _shown(name: str, value: Any) -> Any:
    """The value of a field without the secret that it is, or that a URL in it holds."""
    if isinstance(value, str) and value:
        return "***" if name.endswith(("password", "token")) else re.sub(r"//.*@", "//***@", value)
    if isinstance(value, tuple):
        return tuple(_shown(name, one) for one in value)
    return dict.fromkeys(value, "***") if name == "headers" else value


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of settings.toml. Its repr shows no password: settings stand in tracebacks."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, _shown(name, getattr(self, name))) for name in self.__struct_fields__]


class CrawlTable(Table, frozen=True, kw_only=True):
    """What is crawled, and when it stops."""

    name: str = ""
    """Name of the crawl; empty: the first seed's host."""
    spider: str = "crawler.spiders.pages:Pages"
    """module:Class or path/file.py:Class."""
    hosts: tuple[str, ...] = ()
    """Host patterns of the scope (example.com, *.example.com, example.com:80); empty: the spider's, else the seeds'."""
    include: tuple[str, ...] = ()
    """Regular expressions searched in path and query: only pages that match one are in scope; empty: all."""
    exclude: tuple[str, ...] = ()
    """Regular expressions searched in path and query: pages that match one are out of scope; wins over include."""
    depth_max: Count = 0
    """Links followed from a seed at most; 0: no limit."""
    pages_max: Count = 0
    """The crawl stops after so many pages, over all workers; 0: no limit."""
    time_max_s: Seconds = 0.0
    """One run stops after so many seconds and can be resumed; 0: no limit."""
    bytes_max: Count = 0
    """The crawl stops after so many bytes of bodies, over all workers; 0: no limit."""


class FrontierTable(Table, frozen=True, kw_only=True):
    """The shared queue of requests."""

    url: str = ""
    """sqlite:FILE, memory:, or empty: sqlite in .crawler/<name>.db. For many machines redis://HOST:PORT/DB, with TLS
    rediss://; redis+unix:///SOCKET; redis+sentinel://HOST,HOST/PRIMARY/DB; redis+cluster://HOST,HOST (or rediss+…)."""
    shards: Annotated[int, Meta(ge=0, le=SHARDS_MAX)] = 0
    """Parts that the queue in Redis is split into, fixed when the crawl begins; 0: 1, or 16 on a Redis Cluster."""
    order: Literal["fifo", "lifo"] = "fifo"
    """Order of equal priority within a host: fifo (breadth first) or lifo (depth first)."""
    lease_s: TimeoutSeconds = 60.0
    """Seconds for which a page is promised to a worker; renewed meanwhile: so long a dead machine goes unnoticed."""
    suspect_wait_s: Seconds = 60.0
    """Seconds after which a page that was lost with its worker no longer waits for an idle worker to try it alone."""
    attempts_max: Positive = 4
    """A page that failed so many times is buried."""
    crashes_max: Positive = 3
    """A page is buried after so many deaths of a worker that held nothing else."""
    pending_max: Count = 0
    """Seeding waits while so many requests are pending; 0: no limit."""


class RedisTable(Table, frozen=True, kw_only=True):
    """How Redis is reached, when frontier.url names one."""

    user: str = ""
    """ACL user; empty: the one in frontier.url, else Redis's default user."""
    password: str = ""
    """Better not in a file that others read: CRAWLER__REDIS__PASSWORD in the environment, or password_file."""
    password_file: str = ""
    """A file whose first line is the password."""
    sentinel_user: str = ""
    """ACL user of the Sentinels, which have users of their own."""
    sentinel_password: str = ""
    """Password of the Sentinels; empty: they ask for none."""
    ca_file: str = ""
    """With rediss://: PEM file of the authorities that the server's certificate must come from; empty: the system's."""
    cert_file: str = ""
    """With rediss://: PEM file of this client's certificate, if the server asks for one."""
    key_file: str = ""
    """Key of cert_file; empty: it is in cert_file too."""
    connect_s: TimeoutSeconds = 5.0
    """Seconds until a connection stands."""
    timeout_s: TimeoutSeconds = 10.0
    """Longest wait for one answer, in seconds; then the connection is given up, and the question asked again."""
    replicas: Count = 0
    """Found links and outcomes count as safe when so many replicas have them; 0: when the server itself has."""
    replicas_wait_s: TimeoutSeconds = 1.0
    """Seconds to wait for these replicas; then it is asked again, or, with too few connected, goes without."""


class PolitenessHost(Table, frozen=True, kw_only=True):
    """[politeness.hosts."example.com"]: what holds for this host alone, whatever its robots.txt says."""

    delay_s: Seconds | None = None
    """None: as for all."""
    per_host: Count | None = None
    """None: as for all."""
    hours: tuple[str, ...] | None = None
    """When this host may be asked, within the hours of the crawl; None: as for all."""
    zone: str | None = None
    """Time zone of hours; None: as for all."""


class PolitenessTable(Table, frozen=True, kw_only=True):
    """How hosts are treated, by all workers together."""

    delay_s: Seconds = 1.0
    """Seconds from the end of a fetch to the next of the same host; with a delay one request per host is in flight."""
    per_host: Count = 1
    """Requests in flight per host when delay_s is 0; 0: no cap."""
    per_domain: Count = 0
    """Requests in flight over all hosts of a registrable domain (Public Suffix List, as of its installed package), as
    a.example.co.uk and b.example.co.uk; 0: no cap."""
    per_address: Count = 0
    """Requests in flight to one IP address, for each worker process by itself; 0: no cap. Not over proxies."""
    latency_factor: Annotated[float, Meta(ge=0, le=1_000)] = 2.0
    """With a delay, it grows to so many times the host's response time, smoothed; 0: it does not."""
    delay_max_s: Seconds = 60.0
    """Seconds to which a delay grows at most, by response time or because the host answered 429 or 503: it doubles
    with each such event, and halves again after ten pages that went well."""
    hours: tuple[str, ...] = ()
    """When hosts may be asked, as ["22:00-06:00"]; outside all of these windows workers wait; empty: always."""
    zone: str = ""
    """Time zone of hours, as "Europe/Berlin"; empty: UTC."""
    hosts: dict[str, PolitenessHost] = msgspec.field(default_factory=dict)
    """Tables [politeness.hosts."example.com"] with delay_s or per_host of this host alone (a port that is not 80 or 443
    belongs to the name), which win over its robots.txt; or with hours and zone, within the hours of the crawl."""
    robots: bool = True
    """Whether robots.txt is obeyed."""
    host_failures_max: Positive = 6
    """After so many failures in a row a host is down: its pages are buried until `crawler dead kick --host`."""
    host_backoff_s: Seconds = 1.0
    """Seconds a host is left alone after its first failure; doubles with each further one."""
    host_backoff_max_s: Seconds = 300.0
    """Seconds a host is left alone at most after a failure."""


class RetryTable(Table, frozen=True, kw_only=True):
    """When a page that failed is tried again."""

    backoff_s: Seconds = 1.0
    """Seconds to wait after a page's first failure; doubles with each further one, with jitter."""
    backoff_max_s: Seconds = 300.0
    """Seconds to wait at most before a page is tried again."""


class FetchTable(Table, frozen=True, kw_only=True):
    """HTTP, with its limits."""

    user_agent: str = ""
    """Empty: crawler/<version> (+contact)."""
    contact: str = ""
    """A URL or mail address for site owners, put into the user agent."""
    connect_s: TimeoutSeconds = 10.0
    """Seconds until a connection stands, name look-up and TLS included."""
    first_byte_s: TimeoutSeconds = 30.0
    """Seconds from the request to the head of the response."""
    total_s: TimeoutSeconds = 120.0
    """Seconds for one whole fetch."""
    body_bytes_max: Positive = 10_000_000
    """Larger bodies on the wire are refused."""
    decoded_bytes_max: Positive = 50_000_000
    """Larger bodies after decompression are refused."""
    redirects_max: Count = 10
    """Redirects followed in a row at most."""
    content_types: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain", "text/xml", "application/xml")
    """Others are done with reason content_type, without reading the body; empty: all."""
    connections_max: Positive = 100
    """Connections open per process at most."""
    header_bytes_max: Annotated[int, Meta(ge=1_000, le=1_000_000)] = 32_768
    """A response with a longer status line or header field is refused."""
    headers_max: Annotated[int, Meta(ge=10, le=10_000)] = 256
    """A response with more header fields is refused."""
    verify: bool = True
    """Whether a server must show a certificate that is valid for it (TLS)."""
    ca_file: str = ""
    """PEM file of authorities whose certificates are good too, besides the system's."""


class WorkerTable(Table, frozen=True, kw_only=True):
    """The processes that fetch and parse."""

    processes: Positive = 2
    """Worker processes."""
    concurrency: Positive = 32
    """Fetches in flight per process."""
    batch_max: Positive = 64
    """Outcomes settled together at most."""
    flush_s: Seconds = 0.05
    """Seconds that outcomes wait at most for a batch to fill."""
    links_max: Count = 10_000
    """Requests taken from one page at most."""
    items_max: Count = 10_000
    """Items taken from one page at most."""
    url_chars_max: Positive = 2_000
    """Longer URLs, in characters, are refused as seeds and not followed as links."""
    known_max: Count = 200_000
    """Fingerprints that a worker remembers as known to the frontier."""
    parse_max_s: TimeoutSeconds = 30.0
    """Seconds; a process that parses one page for longer is ended."""
    memory_bytes_max: Count = 2_000_000_000
    """Bytes that a worker process may have in all. A page whose parse would take more is buried as spider_exception; a
    worker whose memory stays full is ended, and its page tried by another. 0: no limit. On Linux."""
    grace_s: Seconds = 10.0
    """Seconds that a draining worker has to finish what is in flight."""


class ExchangeTable(Table, frozen=True, kw_only=True):
    """The queues between workers and pipelines."""

    url: str = ""
    """sqlite:FILE, memory:, or empty: where the frontier is, or a file of this machine beside a frontier on a server.
    For many machines amqp://HOST:PORT,HOST/VHOST, with TLS amqps://."""
    type: Literal["fanout", "direct", "topic"] = "fanout"
    """fanout: every pipeline gets all items; direct: by kind; topic: by patterns (`shop.*`, `#.news`)."""
    lease_s: TimeoutSeconds = 60.0
    """Seconds for which messages are promised to a consumer; renewed while it works."""
    attempts_max: Positive = 4
    """A message that a store failed on so many times is buried."""
    crashes_max: Positive = 3
    """A message is buried after so many deaths of a consumer that held nothing else."""
    batch_max: Positive = 200
    """Messages given to a store together at most."""
    batch_bytes_max: Positive = 64_000_000
    """Bytes of messages given to a store together at most, and at times one message more."""
    batch_wait_s: Seconds = 0.2
    """Seconds that a batch waits at most to fill."""
    message_bytes_max: Annotated[int, Meta(ge=1_000, le=100_000_000)] = 16_000_000
    """A page whose items of one kind are larger, in bytes, is buried; a raw page is cut off there. RabbitMQ 4 refuses
    more than 16 MiB."""
    history: bool = True
    """Whether page outcomes are logged."""


class RabbitTable(Table, frozen=True, kw_only=True):
    """How RabbitMQ is reached and used, when exchange.url names one."""

    user: str = ""
    """Empty: the one in exchange.url, else guest."""
    password: str = ""
    """Better not in a file that others read: CRAWLER__RABBIT__PASSWORD in the environment, or password_file."""
    password_file: str = ""
    """A file whose first line is the password."""
    ca_file: str = ""
    """With amqps://: PEM file of the authorities that the broker's certificate must come from; empty: the system's."""
    cert_file: str = ""
    """With amqps://: PEM file of this client's certificate, if the broker asks for one."""
    key_file: str = ""
    """Key of cert_file; empty: it is in cert_file too."""
    queues: Literal["quorum", "classic"] = "quorum"
    """Kind of the queues, fixed when they are made: quorum (replicated, on disk before it is confirmed) or classic."""
    unconfirmed_max: Positive = 500
    """Messages on their way to the broker, not confirmed yet, at most."""
    prefetch: Annotated[int, Meta(ge=1, le=65_535)] = 400
    """Messages that the broker gives a consumer ahead at most; fewer while they are large (128 MB by their mean)."""
    queue_bytes_max: Count = 0
    """A queue that holds so many bytes takes no more: workers wait for its store; 0: no limit. Fixed like queues."""
    heartbeat_s: Annotated[int, Meta(ge=5, le=3_600)] = 30
    """A connection on which nothing was heard for about so many seconds is given up."""
    connect_s: TimeoutSeconds = 10.0
    """Seconds until a connection stands, TLS and log-in included."""
    timeout_s: TimeoutSeconds = 30.0
    """Longest wait for one answer or confirmation, in seconds; then it is asked or sent again."""
