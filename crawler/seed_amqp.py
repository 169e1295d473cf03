"""Seeds by message: the frontier is fed from a durable queue of RabbitMQ, for as long as this runs.

Any program in any language publishes to the queue (default exchange, the queue's name as routing key, persistent). The
body, in UTF-8, is one of

    https://example.org/                                                   a URL as it is
    {"url": "https://example.org/", "priority": 5, "meta": {"id": 7}}      an object; `url` must be there, and maybe
                                                                           priority (0 to 9), depth, to, meta, method,
                                                                           headers, body (as in lists of seeds)
    ["https://example.org/a", {"url": "https://example.org/b"}]            many of both

A message is acknowledged after the frontier has its URLs, so none is lost whatever is killed; what comes twice is known
there. What is no seed goes to the queue QUEUE.dead, with the headers `reason` and `detail`; of an array only those
entries that are none, as an array. While the frontier is full (`frontier.pending_max`) nothing is taken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from crawler.error import BackendError, BadUrl
from crawler.frontier import Frontier
from crawler.model import Added, Request
from crawler.seed import Producer, Refusal, SeedReport, Tally
from crawler.seed_file import LINE_BYTES_MAX
from crawler.seed_sources import Line
from crawler.url import canonical

if TYPE_CHECKING:
    from crawler.exchange.rabbit.seeds import SeedQueue

WAIT_S: Final = 0.25
"""An empty queue is waited at for so long before anything else is looked at."""

AWAY_S: Final = (0.5, 10.0)
"""Least and longest wait before asking a broker or a frontier again that could not answer; doubles in between."""

RENEW_S: Final = 15.0

ADD_MAX: Final = 1_000
"""Requests added together at most."""

log = logging.getLogger("crawler.seed")
_decode = msgspec.json.Decoder().decode


class Bad(NamedTuple):
    """A message, or entries of one, that gave no request."""

    body: bytes
    reason: str
    """As in `crawler.seed_sources.Refusal`."""
    detail: str


def read(body: bytes, *, chars_max: int) -> tuple[list[Request], list[Bad]]:
    """The requests in a message, and what is none. Pure. Cost: 6 µs a URL."""
    if len(body) > LINE_BYTES_MAX:
        return [], [Bad(body[:LINE_BYTES_MAX], "line_max", f"{len(body)} bytes")]
    text = body.strip()
    if text[:1] not in (b"{", b"[", b'"'):
        return _read_each([text.decode(errors="replace")], chars_max, [body])
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return [], [Bad(body, "json", str(error))]
    if not isinstance(value, list):
        return _read_each([value], chars_max, [body])
    requests, bad = _read_each(value, chars_max, value)
    by_reason: dict[tuple[str, str], list[Any]] = {}
    for one in bad:
        by_reason.setdefault((one.reason, one.detail), []).append(one.body)
    return requests, [Bad(msgspec.json.encode(entries), *why) for why, entries in by_reason.items()]


def _read_each(values: Sequence[Any], chars_max: int, bodies: Sequence[Any]) -> tuple[list[Request], list[Bad]]:
    requests, bad = [], []
    for value, body in zip(values, bodies, strict=True):
        try:
            if isinstance(value, str):
                requests.append(Request(url=canonical(value.strip(), chars_max=chars_max)))
            else:
                requests.append(msgspec.convert(value, Line).request(chars_max))
        except BadUrl as error:
            bad.append(Bad(body, error.reason, str(error).removeprefix(f"{error.reason}: ")))
        except msgspec.ValidationError as error:
            bad.append(Bad(body, "field", str(error)))
    return requests, bad


def feed(
    frontier: Frontier,
    queue: SeedQueue,
    stop: threading.Event,
    *,
    until_empty: bool = False,
    url_chars_max: int = 2_000,
    on_progress: Callable[[SeedReport], None] | None = None,
    on_refused: Callable[[Refusal], None] | None = None,
    renew_s: float = RENEW_S,
) -> SeedReport:
    """Feed the frontier until `stop` is set (what was taken is then added, and the rest stays in the queue), or until
    the queue is empty. Meanwhile it is an open producer: the crawl is not over.

    Broker and frontier are waited for while they are away. Raises SettingsError when the queue cannot be used at the
    start, BackendError when the broker is not there then. Repeating it is safe. Cost: a trip to each a batch."""
    tally = Tally(on_progress, on_refused)
    queue.pump(0)
    with Producer(frontier, f"queue {queue.name}", stop, renew_s) as producer:
        for letters in _batches(queue, stop, until_empty):
            requests: list[Request] = []
            bad: list[Bad] = []
            for letter in letters:
                found, refused = read(letter.body, chars_max=url_chars_max)
                requests += found
                bad += refused
            added = _add(producer, requests, queue, stop)
            if added is None:
                break
            try:
                for one in bad:
                    queue.bury(one.body, one.reason, one.detail)
                queue.end(letters[-1])
            except BackendError as error:  # they come again, and the frontier knows what it has
                log.warning("%s; trying again in %g s", error, AWAY_S[0])
                stop.wait(AWAY_S[0])
                continue
            for one in bad:
                tally.refuse(Refusal(queue.name, 0, one.reason, one.detail))
            tally.count(added, queue.name)
        queue.close()
        producer.close()
    return tally.report()


def _batches(queue: SeedQueue, stop: threading.Event, until_empty: bool) -> Iterator[list[Any]]:
    """What comes, until `stop`, or until nothing is left."""
    wait_s = AWAY_S[0]
    while not stop.is_set():
        try:
            letters = queue.take(WAIT_S)
            over = until_empty and not letters and queue.is_empty()
        except BackendError as error:
            log.warning("%s; trying again in %g s", error, wait_s)
            stop.wait(wait_s)
            wait_s = min(2 * wait_s, AWAY_S[1])
            continue
        wait_s = AWAY_S[0]
        if letters:
            yield letters
        elif over:
            return


def _add(producer: Producer, requests: list[Request], queue: SeedQueue, stop: threading.Event) -> Added | None:
    """None: stopped while the frontier was full or away."""

    def wait(seconds: float) -> bool:
        try:
            queue.pump(seconds)  # the broker must hear of us
        except BackendError:
            stop.wait(seconds)
        return stop.is_set()

    new, known, refused, wait_s = 0, 0, 0, AWAY_S[0]
    while requests:
        try:
            added = producer.add(requests[:ADD_MAX], wait)
        except BackendError as error:
            log.warning("%s; trying again in %g s", error, wait_s)
            if wait(wait_s):
                return None
            wait_s = min(2 * wait_s, AWAY_S[1])
            continue
        if added.full:
            return None
        new, known, refused, wait_s = new + added.new, known + added.known, refused + added.refused, AWAY_S[0]
        requests = requests[ADD_MAX:]
    return Added(new, known, refused)
