"""Rules of robots.txt as workers read them from a frontier: in few trips, and never older than the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from crawler.error import BadRecord, SiteError
from crawler.frontier.memory import MemoryFrontier
from crawler.model import Lease, Request, Robots, Rules
from crawler.rulebook import ASK_MAX, Rulebook

T = TypeVar("T")


class Line:
    """The way to the frontier: counts trips, which begin as usual and end when `open` is set."""

    def __init__(self) -> None:
        self.trips = 0
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def __call__(self, verb: Callable[[], T]) -> T:
        self.trips += 1
        if self.broken:
            raise BadRecord("damaged")
        answer = verb()
        await self.open.wait()
        return answer


class World:
    def __init__(self) -> None:
        self.now = 1_000_000
        self.frontier = MemoryFrontier(Rules(), clock=lambda: self.now)
        self.line = Line()
        self.book = Rulebook(self.frontier, self.line)  # type: ignore[arg-type]

    def tell(self, number: int, text: str, expires_s: float = 100.0) -> int:
        """Set a host's robots.txt; returns its stamp."""
        record = Robots(origin=f"http://h{number}.test", text=text, expires_s=expires_s)
        self.frontier.set_host(f"h{number}.test", robots=record)
        return self.frontier.robots([record.origin])[0].fetched_ms

    def ask(self, number: int, path: str = "secret", stamp: int = 0) -> Coroutine[Any, Any, bool]:
        host = f"h{number}.test"
        request = Request(url=f"http://{host}/{path}")
        lease = Lease(token="t:1", request=request, fingerprint=1, host=host, robots_ms=stamp)
        return self._allowed(lease)

    async def _allowed(self, lease: Lease) -> bool:
        return (await self.book.judge(lease, "bot")).allow


FORBIDS = "User-agent: *\nDisallow: /secret\n"


def test_what_many_ask_at_once_goes_in_few_trips() -> None:
    async def run() -> None:
        world = World()
        count = 2 * ASK_MAX + 1
        for number in range(count):
            world.tell(number, FORBIDS if number % 2 else "")
        asked = [world.ask(number, path) for number in range(count) for path in ("secret", "other")]
        answers = await asyncio.gather(*asked)
        assert answers[::2] == [number % 2 == 0 for number in range(count)]
        assert all(answers[1::2])
        assert world.line.trips == 3
        assert not await world.ask(1)
        assert world.line.trips == 3, "kept"

    asyncio.run(run())


def test_what_is_asked_meanwhile_goes_with_the_next_trip() -> None:
    async def run() -> None:
        world = World()
        for number in range(9):
            world.tell(number, FORBIDS)
        world.line.open.clear()
        first = asyncio.create_task(world.ask(0))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(world.ask(number)) for number in range(9)]
        await asyncio.sleep(0.01)
        assert world.line.trips == 1
        rest[3].cancel()
        world.line.open.set()
        assert await first is False
        answers = await asyncio.gather(*rest, return_exceptions=True)
        assert [answer for answer in answers if answer is not False] == [answers[3]]
        assert world.line.trips == 2

    asyncio.run(run())


def test_rules_that_were_read_before_they_changed_are_read_again() -> None:
    async def run() -> None:
        world = World()
        old = world.tell(1, "")
        world.line.open.clear()
        early = asyncio.create_task(world.ask(1, stamp=old))
        await asyncio.sleep(0.01)
        new = world.tell(1, FORBIDS)
        late = asyncio.create_task(world.ask(1, stamp=new))
        await asyncio.sleep(0.01)
        world.line.open.set()
        assert await early
        assert not await late
        assert not await world.ask(1, stamp=old), "the newest that is known counts"
        assert world.line.trips == 2

    asyncio.run(run())


def test_expired_rules_and_a_damaged_store_are_told_to_all_who_asked() -> None:
    async def run() -> None:
        world = World()
        world.tell(1, FORBIDS, expires_s=1.0)
        world.now += 1_001
        with pytest.raises(SiteError) as told:
            await world.ask(1)
        assert told.value.reason == "robots_expired"
        world.line.broken = True
        answers = await asyncio.gather(world.ask(1), world.ask(1), world.ask(2), return_exceptions=True)
        assert [type(answer) for answer in answers] == [BadRecord] * 3
        world.line.broken = False
        world.tell(1, FORBIDS)
        assert not await world.ask(1)

    asyncio.run(run())
