"""The cap of fetches to one IP address: several names of one server together keep it, other addresses do not wait."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest

from crawler.error import SiteError
from crawler.fetch import Fetcher
from crawler.gate import Gate
from crawler.guard import Guard
from crawler.model import Request
from crawler.tables import FetchTable
from tests.sites.stamp import StampServer

SLOW_S = 0.05


def answer(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/html"}, b"x"


def most_at_once(server: StampServer, address: str) -> int:
    mine = [stamp for stamp in server.stamps if stamp.address == address]
    steps = sorted(chain.from_iterable(((one.came, 1), (one.written, -1)) for one in mine))
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


@pytest.mark.parametrize("cap", [0, 2])
def test_names_of_one_address_share_its_places(cap: int) -> None:
    async def crawl(port: int) -> list[float]:
        settings = FetchTable(total_s=5.0, first_byte_s=SLOW_S * 4)
        async with Fetcher(settings, guard=Guard(enabled=False), per_address=cap) as fetcher:
            hosts = [*["127.0.0.1", "localhost"] * 8, *["127.0.0.2"] * 4]
            urls = [f"http://{host}:{port}/{number}" for number, host in enumerate(hosts)]
            answers = await asyncio.gather(*(fetcher.fetch(Request(url=url)) for url in urls))
            return [one.seconds for one in answers]

    with StampServer(answer, slow_s=SLOW_S) as server:
        seconds = asyncio.run(crawl(server.port))
        assert len(server.stamps) == 20
        found = most_at_once(server, "127.0.0.1")
        assert found == cap if cap else found > 2
        assert most_at_once(server, "127.0.0.2") <= (cap or 4)
        assert max(seconds) < SLOW_S * 8, "waiting for a place is no part of a fetch"


def test_a_fetch_that_fails_gives_its_place_back() -> None:
    async def crawl(port: int) -> list[str]:
        settings = FetchTable(first_byte_s=0.2, total_s=0.3)
        async with Fetcher(settings, guard=Guard(enabled=False), per_address=1) as fetcher:
            url = f"http://127.0.0.1:{port}/"
            tasks = [asyncio.create_task(fetcher.fetch(Request(url=url))) for _ in range(3)]
            await asyncio.sleep(0.1)
            tasks[1].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            return [one.reason if isinstance(one, SiteError) else type(one).__name__ for one in answers]

    with StampServer(answer, slow_s=60.0) as server:
        assert asyncio.run(crawl(server.port)) == ["timeout_first_byte", "CancelledError", "timeout_first_byte"]


def test_first_come_first_served() -> None:
    async def queue() -> list[int]:
        gate, order = Gate(1), []

        async def go(number: int) -> None:
            await gate.wait("a")
            order.append(number)
            await asyncio.sleep(0)
            gate.leave("a")

        tasks = [asyncio.create_task(go(number)) for number in range(6)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.enter("a")
        assert not gate.enter("a")
        assert gate.enter("b")
        return order

    assert asyncio.run(queue()) == [0, 1, 3, 4, 5]
