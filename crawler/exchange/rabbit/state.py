"""What a RabbitExchange is made of: two connections and what works on them. In the loop's thread only.

    front: publishing, declaring, counting, dead letters       back: consuming; only where something is leased

The broker stops reading from a connection that publishes while it has an alarm, so consuming has one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from crawler.error import BackendError, CrawlError, SettingsError
from crawler.exchange.rabbit import letters
from crawler.exchange.rabbit.address import Address
from crawler.exchange.rabbit.asking import Answering, Asking
from crawler.exchange.rabbit.channel import Channel
from crawler.exchange.rabbit.desk import Desk
from crawler.exchange.rabbit.failure import Missing
from crawler.exchange.rabbit.hand import Hand, Held, Most
from crawler.exchange.rabbit.link import Link
from crawler.exchange.rabbit.mover import Mover, Pile, Terms
from crawler.exchange.rabbit.names import Names
from crawler.exchange.rabbit.outbox import Outbox
from crawler.exchange.rabbit.posting import Numbers
from crawler.exchange.rabbit.publisher import Publisher
from crawler.exchange.rabbit.register import Register
from crawler.exchange.routing import ExchangeType
from crawler.model import Bury, DeadItem, Message, Outcome, Queue, Retry, Settlement
from crawler.tables import RabbitTable
from crawler.view import QueueCounts


class State:
    def __init__(
        self,
        names: Names,
        type: ExchangeType,
        address: Address,
        table: RabbitTable,
        terms: Terms,
        clock: Callable[[], int],
        *,
        uid: str,
    ) -> None:
        self._names = names
        self._terms = terms
        self._clock = clock
        self._front = Link(
            address,
            table,
            name=f"{names.prefix} publish",
            on_up=self._front_up,
            on_down=lambda: self._publisher.lost(),
            on_gate=lambda: self._publisher.pump(),
        )
        self._back = Link(address, table, name=f"{names.prefix} consume", on_up=self._back_up)
        self._publisher = Publisher(
            unconfirmed_max=table.unconfirmed_max, timeout_s=table.timeout_s, blocked=lambda: self._front.blocked
        )
        self._calls: Channel | None = None
        self._register = Register(names, type, table, self._front, self._channel, self._publisher)
        self._outbox = Outbox(names, type, self._publisher, self._register, clock, table.timeout_s)
        self._asking = Asking(names, self._channel)
        self._desks: dict[str, Desk] = {}
        self._answering = Answering(names, uid, lambda: self._desks)
        self._numbers = Numbers()
        self._opening = asyncio.Lock()
        self._survived: set[str] = set()
        self._asked_ms = clock()

    async def _front_up(self) -> None:
        channel = await self._front.channel()
        channel.on_refused = self._publisher_refused
        await self._publisher.open(channel)

    def _publisher_refused(self, error: CrawlError) -> None:
        self._publisher.fail(error)

    async def _back_up(self) -> None:
        await self._answering.open(self._back)
        for queue in list(self._desks):
            await self._open_desk(queue)

    async def _ready(self) -> None:
        """The front connection stands, and its publishing channel."""
        await self._front.up()
        if not self._publisher.is_open:
            await self._front_up()

    async def _channel(self) -> Channel:
        """For calls. A refused call closes it; then it is another one."""
        await self._ready()
        if self._calls is None or not self._calls.is_open:
            self._calls = await self._front.channel()
        return self._calls

    async def _open_desk(self, queue: str) -> None:
        """Instead of the one that was; all that this one had in hand is the broker's again."""
        old = self._desks.get(queue)
        if old is not None:
            self._survived |= old.hand.ids()
            old.end()
        hand = old.hand.heir() if old else self._new_hand()
        line = self._names.line(queue)
        piles = (Pile(await self._back.channel()), Pile(await self._back.channel()))
        moves = Mover(line, hand, self._publisher, self._terms, self._clock, self._numbers, piles)
        desk = Desk(line, hand, moves, piles, terms=self._terms, clock=self._clock, survived=self._survived)
        await desk.open()
        self._desks[queue] = desk

    def _new_hand(self) -> Hand:
        return Hand(lease_ms=self._terms.lease_ms, suspect_wait_ms=self._terms.suspect_wait_ms)

    async def _desk(self, queue: str) -> Desk:
        """Where the queue is consumed; consuming begins when it was not. Raises SettingsError: it was not declared."""
        if queue not in self._register.queues and queue not in await self._register.read():
            raise SettingsError(f"exchange: no queue {queue!r} was declared")
        await self._ready()
        await self._back.up()
        if queue in self._desks:
            self._desks[queue].check_age()
        async with self._opening:
            if queue not in self._desks or not self._desks[queue].is_open:
                await self._open_desk(queue)
            return self._desks[queue]

    def _notice_silence(self) -> int:
        """Now. After a silence, or a jump of the clock, of more than half a lease every lease begins anew."""
        now_ms = self._clock()
        if abs(now_ms - self._asked_ms) > self._terms.lease_ms // 2:
            for desk in self._desks.values():
                desk.hand.renew_all(now_ms)
        self._asked_ms = now_ms
        return now_ms

    def _of(self, token: str) -> Desk | None:
        """The desk where a token is current."""
        return next((desk for desk in self._desks.values() if token in desk.hand.held and desk.is_open), None)

    async def declare(self, queues: Sequence[Queue]) -> None:
        await self._ready()
        await self._register.declare(queues)

    async def publish(self, messages: Sequence[tuple[Message, bytes]]) -> None:
        await self._ready()
        try:
            await self._outbox.publish(messages)
        finally:
            self._stir()

    def _stir(self) -> None:
        for desk in self._desks.values():
            desk.stirred = True

    async def lease(self, queue: str, most: Most, consumer: str, request_id: str) -> list[tuple[str, Held]]:
        desk = await self._desk(queue)
        now_ms = self._notice_silence()
        try:
            return await desk.lease(most, consumer, request_id, now_ms)
        except SettingsError as error:  # it had worked: an administrator at work
            raise BackendError(str(error)) from error

    async def settle(self, settlements: Sequence[Settlement]) -> tuple[str, ...]:
        now_ms = self._notice_silence()
        stale: list[str] = []
        current: list[tuple[Desk, dict[str, tuple[str, Outcome, int]]]]
        current = [(desk, {}) for desk in self._desks.values() if desk.is_open]
        for one in settlements:
            token = one.token
            for desk, ended in current:
                if token in desk.hand.held and token not in ended:
                    died = self._numbers.next(now_ms) if isinstance(one.outcome, Bury) else 0
                    ended[token] = (token, one.outcome, died)
                    break
            else:
                stale.append(token)
        for desk, ended in current:
            desk.stirred = desk.stirred or any(isinstance(outcome, Retry) for _, outcome, _ in ended.values())
            await desk.moves.settle(list(ended.values()))
        return tuple(stale)

    async def renew(self, tokens: Sequence[str]) -> tuple[str, ...]:
        now_ms = self._notice_silence()
        for desk in self._desks.values():
            desk.check_age()
        lost = []
        for token in tokens:
            desk_ = self._of(token)
            if desk_ is None:
                lost.append(token)
            else:
                desk_.hand.renew(token, now_ms)
        return tuple(lost)

    async def release(self, tokens: Sequence[str]) -> None:
        for desk in self._desks.values():
            mine = [token for token in dict.fromkeys(tokens) if token in desk.hand.held]
            if mine and desk.is_open:
                await desk.moves.release(mine)

    async def forfeit(self, consumer: str) -> int:
        count = 0
        for desk in self._desks.values():
            if desk.is_open:
                taken = desk.hand.forfeit(consumer)
                await desk.moves.mourn(taken)
                count += len(taken)
        return count

    async def counts(self) -> dict[str, QueueCounts]:
        queues = await self._register.read()
        return await letters.counts(await self._channel(), self._names, list(queues), self._asking, self._clock())

    async def unrouted(self) -> int:
        try:
            told = await (await self._channel()).call("queue_declare", self._names.unrouted, passive=True)
        except Missing:  # nothing was declared yet
            return 0
        count: int = told.message_count
        return count

    async def dead(self, queue: str | None, reason: str | None, limit: int, after: int) -> tuple[DeadItem, ...]:
        found: list[letters.Letter] = []
        most = letters.LETTERS_MAX if reason is not None else after + limit
        for name in await self._register.read():
            if queue in (None, name):
                async with letters.letters(self._front, self._names, name, most) as (_, some):
                    found += [letter for letter in some if reason in (None, letter.reason)]
        found.sort(key=lambda letter: letter.died)
        return tuple(letters.item(letter) for letter in found[after : after + limit])

    async def take_dead(self, queue: str | None, reason: str | None, id: str | None, *, back: bool) -> int:
        def matching(letter: letters.Letter) -> bool:
            return reason in (None, letter.reason) and id in (None, letter.card.id)

        publisher = self._publisher if back else None
        count = 0
        for name in await self._register.read():
            if queue in (None, name):
                count += await letters.take(self._front, self._names, name, matching, publisher)
                if desk := self._desks.get(name):
                    desk.hand.forget_elsewhere()
                    desk.stirred = True
        return count

    async def clear(self) -> None:
        channel = await self._channel()
        for desk in self._desks.values():
            await desk.clear()
        for queue in await self._register.read():
            for name in self._names.line(queue).all():
                await channel.call("queue_purge", name)
        await channel.call("queue_purge", self._names.unrouted)

    async def remove(self) -> None:
        names = self._names
        queues = [name for queue in await self._register.read() for name in names.line(queue).all()]
        channel = await self._channel()
        for name in (*queues, names.unrouted, names.register):
            await channel.call("queue_delete", name)
        for name in (names.items, names.own, names.ask, names.unrouted):
            await channel.call("exchange_delete", name)

    async def close(self) -> None:
        try:
            for desk in self._desks.values():
                if desk.is_open:
                    await desk.give_back()
        finally:
            await self._back.close()
            await self._front.close()
