"""Publishing with confirms: a bounded window, and everything that was not confirmed again on a new connection.

    waiting --sent--> SENT --ack--> safe          nack: a queue is full      return: there is no such queue
       ^                |
       `--connection----'   again, with the same message id: duplicates are possible, loss is not

Source: RabbitMQ, Publisher Confirms; AMQP 0-9-1 basic.return comes before its ack.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from crawler.error import BackendError, BadRecord, CrawlError
from crawler.exchange.rabbit.channel import WRITE_BYTES_MAX, Channel
from crawler.exchange.rabbit.posting import Posting

UNCONFIRMED_BYTES_MAX: Final = 64_000_000
"""Of bodies on their way together; one that is larger goes alone. pika's own buffer has no limit."""


class Batch:
    """Postings that somebody waits for."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: CrawlError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def ended(self) -> None:
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Publisher:
    """In the loop's thread only. `blocked`: why the broker takes no messages now; empty: it does."""

    def __init__(self, *, unconfirmed_max: int, timeout_s: float, blocked: Callable[[], str]) -> None:
        self._unconfirmed_max = unconfirmed_max
        self._timeout_s = timeout_s
        self._blocked = blocked
        self._channel: Channel | None = None
        self._waiting: deque[Posting] = deque()
        self._sent: dict[int, Posting] = {}
        """By delivery tag, in order."""
        self._bytes = 0
        self._tag = 0
        self._returned: set[tuple[str, str]] = set()

    @property
    def is_open(self) -> bool:
        return self._channel is not None

    async def open(self, channel: Channel) -> None:
        """Go on with a new channel: first what the old one left unconfirmed."""
        await channel.call("confirm_delivery", self._confirmed)
        channel.raw.add_on_return_callback(self._came_back)
        self.lost()
        self._channel, self._tag = channel, 0
        self.pump()

    def lost(self) -> None:
        """The channel is gone with its connection: what somebody waits for goes again on the next."""
        for posting in reversed(self._sent.values()):
            if posting.batch is not None:
                posting.state = "waiting"
                self._waiting.appendleft(posting)
        self._forget()

    def fail(self, error: CrawlError) -> None:
        """The broker closed the channel for something that was published: nobody knows which, so all are told, and
        nothing is sent again before its owner says so."""
        for posting in (*self._sent.values(), *self._waiting):
            posting.state = "gone"
            if posting.batch is not None:
                posting.batch.fail(error)
                posting.batch = None
        self._waiting.clear()
        self._forget()

    def _forget(self) -> None:
        self._channel = None
        self._sent.clear()
        self._returned.clear()
        self._bytes = 0

    async def send(self, postings: Sequence[Posting]) -> None:
        """Returns when all are safe. Raises BackendError when that takes too long, a queue is full or is not there;
        what was on its way then may arrive or not."""
        try:
            await self.settle(postings)
        except BaseException:
            for posting in postings:
                posting.batch = None
                if posting.state == "waiting":
                    posting.state = "gone"  # not sent any more
            raise
        bad = next((posting for posting in postings if posting.state != "safe"), None)
        if bad is not None:
            raise BackendError(
                f"RabbitMQ: the queue {bad.key} is full" if bad.state == "full" else f"RabbitMQ: no queue {bad.key}"
            )

    async def settle(self, postings: Sequence[Posting]) -> None:
        """Returns when each is safe, refused or returned: see their states. Raises BackendError when that takes too
        long, BadRecord when one cannot be written; the others stay on their way, and may be given again."""
        batch = Batch(0)
        for posting in postings:
            if posting.state in ("full", "gone"):
                posting.state = "waiting"
            if posting.state != "safe":
                if posting.state == "waiting" and posting.batch is None:
                    self._waiting.append(posting)
                posting.batch = batch
                batch.left += 1
        if not batch.left:
            return
        self.pump()
        try:
            async with asyncio.timeout(self._timeout_s):
                await batch.done
        except TimeoutError:
            why = self._blocked()
            raise BackendError(
                f"RabbitMQ takes no messages: {why}; it does again when its alarm ends"
                if why
                else f"RabbitMQ did not confirm within {self._timeout_s:g} s"
            ) from None

    def pump(self) -> None:
        """Send what may be sent now. A message has its tag when it was encoded: the broker counts what it gets."""
        channel = self._channel
        if channel is None or self._blocked():
            return
        waiting, sent = self._waiting, self._sent
        parts: list[bytes] = []
        begun = self._bytes
        while waiting and len(sent) < self._unconfirmed_max and channel.raw.is_open:
            posting = waiting[0]
            size = len(posting.body)
            if sent and self._bytes + size > UNCONFIRMED_BYTES_MAX:
                break
            waiting.popleft()
            if posting.state != "waiting":
                continue
            try:
                parts += channel.encode(posting)
            except Exception as error:
                _refuse(posting, error)
                continue
            posting.state = "sent"
            self._tag += 1
            sent[self._tag] = posting
            self._bytes += size
            if self._bytes - begun > WRITE_BYTES_MAX:
                channel.write(parts)
                parts, begun = [], self._bytes
        if parts:
            channel.write(parts)

    def _confirmed(self, frame: Any) -> None:
        answer = frame.method
        tag, safe = answer.delivery_tag, answer.NAME == "Basic.Ack"
        sent = self._sent
        if answer.multiple:
            tags = []
            for one in sent:
                if one > tag:
                    break
                tags.append(one)
            for one in tags:
                self._end(sent.pop(one), safe)
        elif tag in sent:
            self._end(sent.pop(tag), safe)
        self.pump()

    def _end(self, posting: Posting, safe: bool) -> None:
        self._bytes -= len(posting.body)
        posting.state = "safe" if safe else "full"
        if posting.mandatory and self._returned:
            name = (posting.key, posting.properties.message_id or "")
            if name in self._returned:
                self._returned.discard(name)
                posting.state = "gone"
        batch, posting.batch = posting.batch, None
        if batch is not None:
            batch.ended()

    def _came_back(self, raw: Any, method: Any, properties: Any, body: bytes) -> None:
        self._returned.add((method.routing_key, properties.message_id or ""))


def _refuse(posting: Posting, error: Exception) -> None:
    """Its caller is told; what was given with it goes on."""
    posting.state = "gone"
    batch, posting.batch = posting.batch, None
    if batch is not None:
        name = posting.properties.message_id or ""
        batch.fail(BadRecord(f"RabbitMQ: message {name[:80]!r} cannot be written: {type(error).__name__}"))
