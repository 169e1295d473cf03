"""The steps of a crawl's requests as they happen. Scripts tell them only while somebody has asked for it lately, and
nobody waits for who listens: a slow listener is cut off by the server (client-output-buffer-limit pubsub)."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from crawler.codec import decode_request
from crawler.error import BadRecord

if TYPE_CHECKING:
    from crawler.frontier.redis import RedisFrontier
from crawler.view import Transition

WATCH_MS: Final = 15_000
"""How long the scripts tell after each time they were asked to."""
ASK_S: Final = 5.0
BACKLOG_MAX: Final = 10_000
"""Messages that wait for who prints them; more are dropped."""

_What = Literal["added", "leased", "done", "retry", "bury", "suspect", "released", "kicked", "dropped", "purged"]
_messages = msgspec.msgpack.Decoder(tuple[int, list[tuple[_What, str, str, str, str]]])


def transitions(frontier: RedisFrontier) -> Iterator[Transition | None]:
    """Without end; None when there was none for half a second. Closes the frontier when it is closed itself."""
    waiting: queue.Queue[bytes] = queue.Queue(BACKLOG_MAX)

    def on_message(channel: str, message: bytes) -> None:
        if message and not waiting.full():
            waiting.put_nowait(message)

    asked_s = 0.0
    with frontier:
        frontier.tell(WATCH_MS)
        frontier.listen_events(on_message)
        while True:
            if monotonic() - asked_s > ASK_S:
                asked_s = monotonic()
                frontier.tell(WATCH_MS)
            try:
                message = waiting.get(timeout=0.5)
            except queue.Empty:
                yield None
                continue
            yield from _decoded(message)


def _decoded(message: bytes) -> Iterator[Transition]:
    try:
        at_ms, events = _messages.decode(message)
    except msgspec.MsgspecError:
        return
    for what, host, worker, reason, payload in events:
        try:
            url = decode_request(payload.encode()).url
        except BadRecord:
            url = f"http://{host}/"
        yield Transition(at_ms=at_ms, what=what, url=url, host=host, worker=worker, reason=reason)
