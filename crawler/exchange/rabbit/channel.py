"""One AMQP channel whose calls can be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import msgspec
from pika import frame, spec  # type: ignore[import-untyped]
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from crawler.error import BackendError, CrawlError
from crawler.exchange.rabbit.posting import Posting

FRAME_OVERHEAD_BYTES: Final = 8
"""Of frame_max, for a frame's head and end (AMQP 0-9-1 §4.2.3)."""
WRITE_BYTES_MAX: Final = 1_000_000
"""Bodies written together at most, and a little."""
HEADS_MAX: Final = 1_000

Arrived = Callable[[Any, Any, bytes], None]
"""method (delivery_tag, redelivered), properties, body"""


class Got(msgspec.Struct, frozen=True):
    """A message fetched singly."""

    method: Any
    properties: Any
    body: bytes
    left: int
    """Messages that still wait in the queue."""


class Channel:
    """Made by `open`. Once the broker or the connection closed it, everything raises why: BackendError, SettingsError.
    Not shared by tasks that await at the same time, except for `call`."""

    def __init__(self, raw: Any, reason: Callable[[BaseException], CrawlError], timeout_s: float) -> None:
        self.raw = raw
        """pika's, for what needs no answer: basic_publish, basic_ack."""
        self.on_refused: Callable[[CrawlError], None] = lambda error: None
        """Called when the broker closed this channel alone, because of something that was asked or sent on it."""
        self._reason = reason
        self._timeout_s = timeout_s
        self._waiting: set[asyncio.Future[Any]] = set()
        self._error: CrawlError | None = None
        self._heads: dict[tuple[str, str, bool], bytes] = {}
        self._getting = asyncio.Lock()
        self._got: asyncio.Future[Got | None] | None = None
        raw.add_on_close_callback(self._closed)
        raw.add_callback(self._empty, [spec.Basic.GetEmpty], one_shot=False)

    @classmethod
    async def open(cls, connection: Any, reason: Callable[[BaseException], CrawlError], timeout_s: float) -> Self:
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def lost(connection: Any, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(reason(error))

        connection.add_on_close_callback(lost)
        try:
            connection.channel(on_open_callback=lambda raw: None if opened.done() else opened.set_result(raw))
            async with asyncio.timeout(timeout_s):
                return cls(await opened, reason, timeout_s)
        except TimeoutError:
            raise BackendError("RabbitMQ opens no channel: it does not answer in time") from None
        except CrawlError:
            raise
        except Exception as error:
            raise reason(error) from None

    @property
    def is_open(self) -> bool:
        return self._error is None and bool(self.raw.is_open)

    async def call(self, verb: str, *args: Any, **options: Any) -> Any:
        """pika's method of that name, and the broker's answer to it: its method frame's method."""
        answer = self._promise()
        return await self._answered(
            answer, lambda: getattr(self.raw, verb)(*args, callback=lambda told: _resolve(answer, told), **options)
        )

    async def get(self, queue: str) -> Got | None:
        """The first message of a queue, not acknowledged; None: there is none."""
        async with self._getting:
            self._got = answer = self._promise()

            def arrived(raw: Any, method: Any, properties: Any, body: bytes) -> None:
                _resolve(answer, Got(method, properties, body, method.message_count))

            found: Got | None = await self._answered(answer, lambda: self.raw.basic_get(queue, arrived))
            return found

    async def stop(self, consumer: str, queue: str) -> None:
        """No more deliveries to this consumer tag of this queue; returns when those on their way have come. pika would
        send these back, or drop them, and the broker would mark them as if somebody had died holding them.

        The broker's channel asks the queue while deliveries wait behind that, so its answer comes before them: only an
        answer to what is asked afterwards comes behind them. Cost: two trips."""
        self.check()
        raw = self.raw
        taker = raw._consumers.get(consumer)
        if taker is None:
            return
        try:
            raw.basic_cancel(consumer)
        except Exception as error:
            raise self._reason(error) from None
        raw._consumers[consumer] = taker
        raw._cancelled.discard(consumer)
        for _ in range(2):
            await self.call("queue_declare", queue, passive=True)
        raw._consumers.pop(consumer, None)

    def encode(self, posting: Posting) -> list[bytes]:
        """A message's frames. Raises whatever pika raises for what AMQP cannot carry: a name of more than 255 bytes, a
        header of no known type."""
        number = self.raw.channel_number
        part_max = self.raw.connection.params.frame_max - FRAME_OVERHEAD_BYTES
        body = posting.body
        parts = [self._head(number, posting), frame.Header(number, len(body), posting.properties).marshal()]
        for begin in range(0, len(body), part_max):
            parts.append(frame.Body(number, body[begin : begin + part_max]).marshal())
        return parts

    def write(self, parts: Sequence[bytes]) -> None:
        """Frames of several messages in one go: pika would make three writes of each, a system call apiece. Raises
        what pika raises when the channel is closed."""
        self.raw.connection._output_marshaled_frames([b"".join(parts)])

    def _head(self, number: int, posting: Posting) -> bytes:
        """The frame with exchange and routing key, which are few."""
        name = (posting.exchange, posting.key, posting.mandatory)
        found = self._heads.get(name)
        if found is None:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            method = spec.Basic.Publish(exchange=name[0], routing_key=name[1], mandatory=name[2])
            found = self._heads[name] = frame.Method(number, method).marshal()
        return found

    def _promise(self) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)
        return answer

    async def _answered(self, answer: asyncio.Future[Any], ask: Callable[[], object]) -> Any:
        try:
            self.check()
            ask()
            async with asyncio.timeout(self._timeout_s):
                told = await answer
        except TimeoutError:
            raise BackendError(f"RabbitMQ did not answer within {self._timeout_s:g} s") from None
        except (CrawlError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise self._reason(error) from None
        finally:
            self._waiting.discard(answer)
        return getattr(told, "method", told) if not isinstance(told, Got) else told

    def check(self) -> None:
        """Raises why it was closed, if it was."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Without waiting for the broker; what was not acknowledged goes back to its queue."""
        if self.raw.is_open:
            self._error = self._error or BackendError("RabbitMQ: a channel was used after it was closed")
            self.raw.close()

    def _empty(self, frame: Any) -> None:
        if self._got is not None:
            _resolve(self._got, None)

    def _closed(self, raw: Any, error: BaseException) -> None:
        if self._error is None:
            self._error = self._reason(error)
            if isinstance(error, ChannelClosedByBroker):
                self.on_refused(self._error)
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(self._error)
                answer.exception()  # somebody may have stopped waiting


def _resolve(answer: asyncio.Future[Any], told: Any) -> None:
    if not answer.done():
        answer.set_result(told)
